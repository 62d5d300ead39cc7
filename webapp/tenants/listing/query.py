"""What a list of tenants is asked for, and the cursor that leads through it; no SQL."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import astuple, dataclass

from webapp.errors import InvalidInput
from webapp.ids import has_control_characters
from webapp.storable import is_storable
from webapp.tenants.rows import TenantRow

MAX_LIMIT = 200
MAX_ID = 2**63 - 1
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
    """Which tenants; each that is set narrows the list. Ids are in their stored form.

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
class TenantQuery:
    """A page of the list: `limit` rows from where `cursor` stands, else from the beginning."""

    filter: TenantFilter = TenantFilter()
    sort: str = DEFAULT_SORT
    limit: int = 50
    cursor: str | None = None

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

    @property
    def _fingerprint(self) -> str:
        asked = json.dumps([self.sort, *astuple(self.filter)])
        return hashlib.blake2s(asked.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two rows: behind the row with this key, or before it."""

    forward: bool
    value: int | str
    number: int


def key_of(query: TenantQuery, row: TenantRow) -> int | str:
    """What the list is sorted by."""
    if query.column == "blocked":
        return row.blocked_at or 0
    value: int | str = getattr(row, query.column)
    return value


def cursor_at(query: TenantQuery, row: TenantRow, *, forward: bool) -> str:
    """The cursor for what follows the row, or for what stands before it."""
    place = [query._fingerprint, int(forward), key_of(query, row), row.number]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def position_of(query: TenantQuery) -> Position | None:
    """Where the query's cursor stands; `InvalidInput` when it is not of this very list."""
    if query.cursor is None:
        return None
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        fingerprint, forward, value, number = place
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _foreign() from None
    expected = str if query.column == "user_id" else int
    if fingerprint != query._fingerprint or type(value) is not expected or type(number) is not int:
        raise _foreign()
    if not -MAX_ID <= number <= MAX_ID or (isinstance(value, int) and abs(value) > MAX_ID):
        raise _foreign()
    # JSON can spell half a character, which no database takes.
    if isinstance(value, str) and not is_storable(value):
        raise _foreign()
    return Position(forward == 1, value, number)


def _foreign() -> InvalidInput:
    return _bad("cursor", "cursor belongs to another list; leave it out to begin again")


def _bad(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={field: sentence})
