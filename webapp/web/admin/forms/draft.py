"""What was typed into a form that was refused, so that the person can send it again."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from webapp.web.admin.paths import is_own_path
from webapp.web.csrf import FIELD

CARRIED = "kept."
ACTION = "kept-action"
# A password or a link's secret is not written into a page; a new token comes with the new form.
NEVER_KEPT = frozenset({FIELD, "password", "again", "current", "token", ACTION})
LABELS = {
    "confirm": "Typed words",
    "context_max_messages": "Messages sent at most",
    "instructions": "Instructions",
    "max_loops": "Tool loops at most",
    "message": "Message",
    "model": "Model",
    "name": "Name",
    "rate_limit": "Requests",
    "session_id": "Session",
    "token_budget": "Tokens",  # nosec B105  # a label
    "users": "Users",
}


@dataclass(frozen=True, slots=True)
class DraftField:
    """One field; a hidden one is sent with the form and not shown."""

    name: str
    label: str
    value: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A form's address and fields."""

    action: str
    fields: tuple[DraftField, ...]

    @property
    def as_hidden(self) -> tuple[tuple[str, str], ...]:
        """The fields as the sign-in form carries them, hidden."""
        pairs = tuple((CARRIED + field.name, field.value) for field in self.fields)
        return ((ACTION, self.action), *pairs)


def draft_of_request() -> Draft | None:
    """The form of this request; None when it has no field that may be sent again."""
    pairs = [
        (name, value) for name, value in request.form.items(multi=True) if name not in NEVER_KEPT
    ]
    return _form(request.path, pairs) if pairs else None


def draft_from_sign_in() -> Draft | None:
    """The refused form that the sign-in form of this request carries; None without one."""
    action = request.form.get(ACTION, "")
    if not is_own_path(action):
        return None
    pairs = [
        (name.removeprefix(CARRIED), value)
        for name, value in request.form.items(multi=True)
        if name.startswith(CARRIED) and name.removeprefix(CARRIED) not in NEVER_KEPT
    ]
    return _form(action, pairs) if pairs else None


def _form(action: str, pairs: list[tuple[str, str]]) -> Draft:
    return Draft(
        action,
        tuple(
            DraftField(name, LABELS.get(name, name), value, hidden=name not in LABELS)
            for name, value in pairs
        ),
    )
