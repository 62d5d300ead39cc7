"""The navigation of a role."""

from webapp.accounts.roles import Permission, Role, may
from webapp.web.admin.layout.navigation import NAVIGATION, navigation


def labels(role: Role) -> list[str]:
    groups = navigation(lambda permission: may(role, Permission(permission)))
    return [item.label for _, items in groups for item in items]


def test_an_owner_sees_every_place_and_a_viewer_only_those_to_look_at() -> None:
    assert labels("owner") == [item.label for item in NAVIGATION]
    assert labels("viewer") == [
        "Overview",
        "Tenants",
        "Metrics",
        "Agent",
        "Tools",
        "Workflows",
        "Audit log",
        "Settings",
    ]


def test_a_group_without_entries_is_left_out() -> None:
    assert navigation(lambda permission: False) == ()
