"""For which users a credential may speak: one, a prefix, or all; compared as plain text."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.errors import InvalidInput
from webapp.ids import check_user_id


@dataclass(frozen=True, slots=True)
class UserPattern:
    """One id, every id with a prefix (`org-acme-*`), or every id (`*`).

    No regular expression and no folding of case or form: two ids that look alike are two ids.
    """

    text: str
    is_prefix: bool

    @classmethod
    def all(cls) -> UserPattern:
        """Every user."""
        return cls("", True)

    @classmethod
    def only(cls, user_id: str) -> UserPattern:
        """This user alone, even when the id ends in a star."""
        return cls(user_id, False)

    @classmethod
    def parse(cls, value: object) -> UserPattern:
        """Reads what a person wrote; `InvalidInput` names the field `users`."""
        if not isinstance(value, str) or not value:
            raise _bad("users must be one user id, a prefix such as org-acme-*, or *")
        if value == "*":
            return cls.all()
        if "*" in value[:-1]:
            raise _bad("users may have a * at its end only")
        if value.endswith("*"):
            # The letter stands for the rest of the id: a prefix alone may end in a space.
            check_user_id(value[:-1] + "x", "users")
            return cls(value[:-1], True)
        return cls(check_user_id(value, "users"), False)

    @property
    def is_all(self) -> bool:
        return self.is_prefix and not self.text

    def matches(self, user_id: str) -> bool:
        return user_id.startswith(self.text) if self.is_prefix else user_id == self.text

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        return f"{self.text}*" if self.is_prefix else self.text


def _bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"users": sentence})
