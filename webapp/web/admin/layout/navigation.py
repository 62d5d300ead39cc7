"""The console's navigation: its entries, and those that an admin may see."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NavItem:
    """One entry of the navigation; `endpoint` is what `url_for` takes."""

    endpoint: str
    label: str
    icon: str
    permission: str
    group: str
    # Pages below this one, which keep its entry marked.
    children: tuple[str, ...] = ()


NAVIGATION = (
    NavItem("admin.overview", "Overview", "overview", "read_metrics", "Watch"),
    NavItem(
        "admin.tenants",
        "Tenants",
        "tenants",
        "read_tenants",
        "Watch",
        (
            "admin.tenant",
            "admin.tenant_clear",
            "admin.tenant_forget",
            "admin.tenant_runs",
            "admin.tenant_run",
            "admin.tenants_clear_all",
            "admin.tenants_bulk",
            "admin.sessions",
            "admin.session",
            "admin.session_clear",
            "admin.session_forget",
        ),
    ),
    NavItem("admin.metrics", "Metrics", "metrics", "read_metrics", "Watch"),
    NavItem("admin.playground", "Playground", "playground", "use_playground", "Agent"),
    NavItem("admin.agent", "Agent", "agent", "read_agent", "Agent"),
    NavItem("admin.tools", "Tools", "tools", "read_metrics", "Agent"),
    NavItem("admin.workflows", "Workflows", "workflows", "read_agent", "Agent"),
    NavItem("admin.keys", "Keys", "keys", "manage_keys", "Access"),
    NavItem("admin.admins", "Admins", "admins", "manage_admins", "Access"),
    NavItem("admin.audit", "Audit log", "audit", "read_audit", "Access"),
    NavItem("admin.settings", "Settings", "settings", "read_settings", "Access"),
)


def navigation(can: Callable[[str], bool]) -> tuple[tuple[str, tuple[NavItem, ...]], ...]:
    """Return the entries an admin may see, in groups; a group that would be empty is left out."""
    groups: dict[str, list[NavItem]] = {}
    for item in NAVIGATION:
        if can(item.permission):
            groups.setdefault(item.group, []).append(item)
    return tuple((name, tuple(items)) for name, items in groups.items())
