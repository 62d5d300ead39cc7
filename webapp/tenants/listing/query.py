"""What a list of tenants is asked for, and places in that list; no SQL."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.errors import InvalidInput
from webapp.ids import has_control_characters
from webapp.tenants.rows import TenantRow

MAX_LIMIT = 200
DEFAULT_SORT = "-last_active_at"
COLUMN_SORTS = (
    "last_active_at",
    "message_count",
    "request_count",
    "error_count",
    "rate_limited_count",
    "total_tokens",
    "p95_ms",
)
SORTS = tuple(
    f"{sign}{column}" for column in ("user_id", *COLUMN_SORTS, "blocked") for sign in ("", "-")
)


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Selects tenants; each field that is set narrows the list. Ids are in their stored form.

    `search` is a part of the id, `prefix` its beginning (a key's pattern), `only` the whole.
    """

    search: str = ""
    blocked: bool | None = None
    active_within_ms: int | None = None
    has_errors: bool = False
    prefix: str = ""
    only: str | None = None

    @property
    def matches_nothing(self) -> bool:
        """The search holds a character that no id may have, and that SQLite could not take."""
        return has_control_characters(self.search)


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two rows: behind the row with this key, or before it."""

    forward: bool
    value: int | str
    number: int


@dataclass(frozen=True, slots=True)
class TenantQuery:
    """A page of the list: `limit` rows from `position` on, else from the beginning."""

    filter: TenantFilter = TenantFilter()
    sort: str = DEFAULT_SORT
    limit: int = 50
    position: Position | None = None

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise _bad("sort", f"sort must be one of {', '.join(SORTS)}")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise _bad("limit", f"limit must be from 1 to {MAX_LIMIT}")

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")


def key_of(query: TenantQuery, row: TenantRow) -> int | str:
    """The sort key of the list."""
    if query.column == "blocked":
        return row.blocked_at or 0
    value: int | str = getattr(row, query.column)
    return value


def position_at(query: TenantQuery, row: TenantRow, *, forward: bool) -> Position:
    """The place behind the row, or the one before it."""
    return Position(forward, key_of(query, row), row.number)


def _bad(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={field: sentence})
