"""The caller, as a value; how a credential is checked is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from webapp.accounts.roles import NEEDS_ALL_USERS, NOT_FOR_TOKENS, Permission, Role, may
from webapp.accounts.user_pattern import UserPattern
from webapp.errors import Forbidden, NotFound

Kind = Literal["key", "token", "admin", "local"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a credential, and what the credential allows.

    `name` is a key's id, an admin's name, or what signed a token (a key's id, `local`, or the
    identity provider's issuer); it is never a user's id.
    """

    kind: Kind
    name: str
    role: Role
    users: UserPattern
    # Whether an admin has seen the secret, or that of the key that signed the token.
    known_to_admins: bool = False

    @classmethod
    def local(cls) -> Principal:
        """This machine itself: `dev` without a key, and the command line."""
        return cls("local", "local", "owner", UserPattern.all())

    @classmethod
    def admin(cls, name: str, role: Role) -> Principal:
        return cls("admin", name, role, UserPattern.all())

    @property
    def actor(self) -> str:
        """The caller's name in the audit log."""
        return self.name if self.kind == "local" else f"{self.kind}:{self.name}"

    @property
    def user_id(self) -> str | None:
        """The user that a token stands for; None for all who must name one."""
        return self.users.text if self.kind == "token" else None

    def may(self, permission: Permission) -> bool:
        if not may(self.role, permission):
            return False
        if self.kind == "token" and permission in NOT_FOR_TOKENS:
            return False
        return permission not in NEEDS_ALL_USERS or self.users.is_all

    def may_speak_for(self, user_id: str) -> bool:
        return self.users.matches(user_id)

    def require(self, permission: Permission) -> None:
        """`Forbidden` when it may not."""
        if not self.may(permission):
            raise Forbidden("This credential may not do that.")

    def speaks_for(self, user_id: str | None) -> str:
        """The user of a turn: what the caller says, within what the credential allows.

        An id may be left out with a token only, and the caller must have seen to that. Raises
        `Forbidden` for a user outside the pattern.
        """
        named = self.user_id if user_id is None else user_id
        if named is None or not self.may_speak_for(named):
            raise Forbidden("This credential may not speak for that user.", code="user_not_allowed")
        return named

    def looks_at(self, user_id: str) -> str:
        """The tenant to show or change; outside the pattern there seems to be none."""
        if not self.may_speak_for(user_id):
            raise NotFound("There is no such tenant.")
        return user_id
