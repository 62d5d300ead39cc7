"""What a list of sessions is asked for, and places in that list; no SQL."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.errors import InvalidInput
from webapp.ids import has_control_characters
from webapp.memory.sessions.store import SessionSummary

MAX_LIMIT = 200
DEFAULT_SORT = "-last_active_at"
SORTS = tuple(
    f"{sign}{column}"
    for column in (
        *("last_active_at", "created_at", "session_id", "title"),
        *("message_count", "turn_count", "total_tokens"),
    )
    for sign in ("", "-")
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two sessions: behind the one with this key, or before it."""

    forward: bool
    value: int | str
    number: int


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """A page of the list: `limit` sessions from `position` on, else from the beginning.

    `search` is a part of the session's id or of its title.
    """

    search: str = ""
    sort: str = DEFAULT_SORT
    limit: int = 50
    position: Position | None = None

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise _bad("sort", f"sort must be one of {', '.join(SORTS)}")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise _bad("limit", f"limit must be from 1 to {MAX_LIMIT}")

    @property
    def matches_nothing(self) -> bool:
        """The search holds a character that neither an id nor a title may have."""
        return has_control_characters(self.search)

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")


@dataclass(frozen=True, slots=True)
class Page:
    """Some sessions in order, and where the pages beside it begin; None where there is none."""

    rows: tuple[SessionSummary, ...]
    following: Position | None = None
    preceding: Position | None = None


def _bad(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={field: sentence})
