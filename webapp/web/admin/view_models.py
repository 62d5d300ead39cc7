"""Small values the console's templates are handed: navigation, and the address of a list's view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode


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
            "admin.tenants_clear_all",
            "admin.tenants_bulk",
        ),
    ),
    NavItem("admin.metrics", "Metrics", "metrics", "read_metrics", "Watch"),
    NavItem("admin.playground", "Playground", "playground", "use_playground", "Agent"),
    NavItem("admin.agent", "Agent", "agent", "read_agent", "Agent"),
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


@dataclass(frozen=True, slots=True)
class ListView:
    """Where a list stands: its path, its filters, its sort; it makes the links that change one.

    `params` are the query's filters without `cursor` and `sort`. `sort` is a column, with a
    hyphen in front when it runs from the largest down.
    """

    path: str
    params: Mapping[str, str]
    sort: str

    def url(self, **changes: str | None) -> str:
        """Return this view with some parameters changed; None or nothing drops one."""
        merged: dict[str, str | None] = {**self.params, "sort": self.sort, **changes}
        query = urlencode({name: value for name, value in merged.items() if value})
        return f"{self.path}?{query}" if query else self.path

    def sort_url(self, column: str, first: Literal["", "-"] = "-") -> str:
        """Return the link of a column's heading: first its usual direction, then the other."""
        usual, other = f"{first}{column}", column if first else f"-{column}"
        return self.url(sort=other if self.sort == usual else usual)

    def sorted_by(self, column: str) -> Literal["ascending", "descending", "none"]:
        """Return the value of `aria-sort` for a column."""
        if self.sort.lstrip("-") != column:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    @property
    def filtered(self) -> bool:
        """Return whether any filter narrows the list."""
        return any(self.params.values())


@dataclass(frozen=True, slots=True)
class Pages:
    """The links of a list's paging; None where there is no such page."""

    previous_url: str | None = None
    next_url: str | None = None
    first_url: str | None = None


WINDOWS: Sequence[tuple[str, str]] = (
    ("1h", "1 hour"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
)
