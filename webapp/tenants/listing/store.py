"""Reads a page of the tenants in any order among a million; what may be asked is in query.py.

A page walks the index of its sort from the cursor on, so the thousandth costs what the first
does. When a filter leaves few tenants that walk would be long, so those few are looked up first
and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from webapp.storage import Connection
from webapp.tenants.listing.narrowing import conditions, few_of
from webapp.tenants.listing.query import Position, TenantQuery, cursor_at, position_of
from webapp.tenants.rows import COLUMNS, TenantRow, row_of

# Where a sort's name and its column are not the same.
KEYS = {"blocked": "COALESCE(blocked_at, 0)", "rate_limited_count": "refused_count"}


@dataclass(frozen=True, slots=True)
class Page:
    """Some tenants in order, and the cursors of the pages beside it; None where there is none.

    `exact` is the tenant whose id is just what was searched for; only beside a first page.
    """

    rows: tuple[TenantRow, ...]
    next_cursor: str | None = None
    previous_cursor: str | None = None
    exact: TenantRow | None = None


def page(connection: Connection, query: TenantQuery, now_ms: int) -> Page:
    """The page that the query asks for; `InvalidInput` for a cursor of another list."""
    position = position_of(query)
    if query.filter.matches_nothing:
        return Page(())
    forward = position is None or position.forward
    where, values = conditions(query, now_ms)
    values["limit"] = query.limit + 1
    if position is not None:
        values |= {"value": position.value, "number": position.number}
    few = few_of(connection, query.filter, now_ms)
    rows: list[TenantRow] = []
    for sql in _statements(query, position, where, few):
        rows += [row_of(row) for row in connection.execute(sql, values).fetchall()]
        if len(rows) > query.limit:
            break
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if not forward:
        rows.reverse()
    exact = _exact(connection, query, now_ms) if position is None else None
    if not rows:
        return Page((), exact=exact)
    has_next, has_previous = (more, position is not None) if forward else (True, more)
    return Page(
        tuple(rows),
        cursor_at(query, rows[-1], forward=True) if has_next else None,
        cursor_at(query, rows[0], forward=False) if has_previous else None,
        exact,
    )


def _exact(connection: Connection, query: TenantQuery, now_ms: int) -> TenantRow | None:
    if not query.filter.search:
        return None
    narrowed = replace(query, limit=1, filter=replace(query.filter, only=query.filter.search))
    where, values = conditions(narrowed, now_ms)
    found = connection.execute(_select(where, "tenants.id"), {**values, "limit": 1}).fetchone()
    return None if found is None else row_of(found)


def _statements(
    query: TenantQuery, position: Position | None, where: list[str], few: list[int] | None
) -> Iterator[str]:
    """What to run, one after the other, until there are enough rows."""
    forward = position is None or position.forward
    descending = query.descending == forward
    if query.column != "blocked" or few is not None:
        key = KEYS.get(query.column, query.column)
        yield from _walk(key, where, position is not None, descending, few)
        return
    # The unblocked ones count as blocked at 0. Each kind has an index of its own to walk.
    among_unblocked = position is not None and position.value == 0
    among_blocked = position is not None and position.value != 0
    unblocked = ["blocked_at IS NULL", *where]
    if among_unblocked:
        unblocked.append(f"tenants.id {'<' if descending else '>'} :number")
    walk_unblocked = _select(unblocked, f"tenants.id {'DESC' if descending else 'ASC'}")
    walk_blocked = _walk(
        "blocked_at", ["blocked_at IS NOT NULL", *where], among_blocked, descending
    )
    if descending:
        if not among_unblocked:
            yield from walk_blocked
        yield walk_unblocked
    else:
        if not among_blocked:
            yield walk_unblocked
        yield from walk_blocked


def _walk(
    key: str, where: list[str], placed: bool, descending: bool, few: list[int] | None = None
) -> Iterator[str]:
    """From a place on: first its equals, then the rest. One comparison of both columns would make
    SQLite read all equals from their beginning, and half a million tenants may have no errors.
    """
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    order = f"{key} {direction}, tenants.id {direction}"
    if placed:
        equals = [f"{key} = :value", f"tenants.id {beyond} :number"]
        yield _select(where + equals, f"tenants.id {direction}", few)
        where = [*where, f"{key} {beyond} :value"]
    yield _select(where, order, few)


def _select(where: list[str], order: str, few: list[int] | None = None) -> str:
    """Every part comes from this module; what the caller sent is in parameters."""
    chosen, source = "", "tenants"
    if few is not None:
        numbers = ", ".join(f"({number:d})" for number in few or [0])
        chosen, source = f"WITH few (id) AS (VALUES {numbers}) ", "few CROSS JOIN tenants"
        where = ["tenants.id = few.id", *where]
    clause = f"WHERE {' AND '.join(where)} " if where else ""
    return f"{chosen}SELECT {COLUMNS} FROM {source} {clause}ORDER BY {order} LIMIT :limit"  # noqa: S608  # nosec B608
