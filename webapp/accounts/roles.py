"""What each role may do, in one table; the roles of accounts and keys are not here.

`chat` is the role of a backend or an app that talks for its users: it runs turns
and signs tokens for them, and sees nothing else. `viewer` looks, `operator` also acts
on one tenant at a time, `owner` also acts on all of them and on what concerns all of them: the
agent's configuration, keys, accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from webapp.errors import InvalidInput

Role = Literal["chat", "viewer", "operator", "owner"]
ROLES: Final[tuple[Role, ...]] = ("chat", "viewer", "operator", "owner")
ADMIN_ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "owner")
"""The roles of people; `chat` is for programs only."""


class Permission(StrEnum):
    """One thing that somebody may be allowed to do."""

    RUN_TURNS = "run_turns"
    ISSUE_TOKENS = "issue_tokens"

    READ_TENANTS = "read_tenants"
    READ_CONVERSATIONS = "read_conversations"
    READ_METRICS = "read_metrics"
    READ_AGENT = "read_agent"
    READ_SETTINGS = "read_settings"
    READ_AUDIT = "read_audit"
    MANAGE_OWN_ACCOUNT = "manage_own_account"

    CHANGE_TENANT = "change_tenant"
    CLEAR_TENANT = "clear_tenant"
    FORGET_TENANT = "forget_tenant"
    EXPORT_TENANT = "export_tenant"
    USE_PLAYGROUND = "use_playground"

    IMPORT_TENANT = "import_tenant"
    CLEAR_ALL = "clear_all"
    EXPORT_ALL = "export_all"
    IMPORT_ALL = "import_all"
    CHANGE_AGENT = "change_agent"
    MANAGE_KEYS = "manage_keys"
    MANAGE_ADMINS = "manage_admins"


_CHAT = frozenset({Permission.RUN_TURNS, Permission.ISSUE_TOKENS})

_VIEWER = frozenset(
    {
        Permission.READ_TENANTS,
        Permission.READ_CONVERSATIONS,
        Permission.READ_METRICS,
        Permission.READ_AGENT,
        Permission.READ_SETTINGS,
        # A role that sees what was done to a tenant also sees who did it.
        Permission.READ_AUDIT,
        Permission.MANAGE_OWN_ACCOUNT,
    }
)

_OPERATOR = (
    _CHAT
    | _VIEWER
    | {
        Permission.CHANGE_TENANT,
        Permission.CLEAR_TENANT,
        Permission.FORGET_TENANT,
        Permission.EXPORT_TENANT,
        Permission.USE_PLAYGROUND,
    }
)

_OWNER = _OPERATOR | {
    # An import writes words into a user's mouth, so it is not one of the acts on one tenant.
    Permission.IMPORT_TENANT,
    Permission.CLEAR_ALL,
    Permission.EXPORT_ALL,
    Permission.IMPORT_ALL,
    # The agent answers every tenant: to change it is to act on all of them.
    Permission.CHANGE_AGENT,
    Permission.MANAGE_KEYS,
    Permission.MANAGE_ADMINS,
}

PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {"chat": _CHAT, "viewer": _VIEWER, "operator": _OPERATOR, "owner": _OWNER}
)

# A token that could sign tokens would live for ever.
NOT_FOR_TOKENS: Final = frozenset({Permission.ISSUE_TOKENS})

# These have no tenant to confine them to, so a key must speak for every user to have them.
NEEDS_ALL_USERS: Final = frozenset(
    {
        Permission.READ_AGENT,
        Permission.READ_SETTINGS,
        Permission.READ_AUDIT,
        Permission.CLEAR_ALL,
        Permission.EXPORT_ALL,
        Permission.IMPORT_ALL,
        Permission.CHANGE_AGENT,
        Permission.MANAGE_KEYS,
        Permission.MANAGE_ADMINS,
    }
)


def may(role: Role, permission: Permission) -> bool:
    """Whether the role has the permission."""
    return permission in PERMISSIONS[role]


def check_role(value: object, *, among: tuple[Role, ...] = ROLES) -> Role:
    """The role itself when it is one of `among`; otherwise `InvalidInput` that names them."""
    for role in among:
        if value == role:
            return role
    sentence = f"role must be one of {', '.join(among)}"
    raise InvalidInput(sentence, fields={"role": sentence})
