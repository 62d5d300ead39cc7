"""Reads a page of the tenants in any order among a million; what may be asked is in query.py.

A page walks the index of its sort from a position on, so the thousandth costs what the first
does. When a filter leaves few tenants that walk would be long, so those few are looked up first
and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from webapp.storage import Connection
from webapp.storage.engine import Engine, engine_of
from webapp.tenants.listing.query import Position, TenantFilter, TenantQuery, position_at
from webapp.tenants.rows import COLUMNS, TenantRow, row_of
from webapp.tenants.search import store as search

FEW = 5000
LAST_CHARACTER = "\U0010ffff"
# Where a sort's name and its column are not the same.
KEYS = {"blocked": "COALESCE(blocked_at, 0)", "rate_limited_count": "refused_count"}


@dataclass(frozen=True, slots=True)
class Page:
    """Some tenants in order, and where the pages beside it begin; None where there is none.

    `exact` is the tenant whose id is just what was searched for; only beside a first page.
    """

    rows: tuple[TenantRow, ...]
    following: Position | None = None
    preceding: Position | None = None
    exact: TenantRow | None = None


def page(connection: Connection, query: TenantQuery, now_ms: int) -> Page:
    """The page that the query asks for."""
    position = query.position
    if query.filter.matches_nothing:
        return Page(())
    forward = position is None or position.forward
    where, values = _conditions(query, now_ms, engine_of(connection))
    values["limit"] = query.limit + 1
    if position is not None:
        values |= {"value": position.value, "number": position.number}
    few = _few_of(connection, query.filter, now_ms)
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
        position_at(query, rows[-1], forward=True) if has_next else None,
        position_at(query, rows[0], forward=False) if has_previous else None,
        exact,
    )


def _exact(connection: Connection, query: TenantQuery, now_ms: int) -> TenantRow | None:
    if not query.filter.search:
        return None
    narrowed = replace(query, limit=1, filter=replace(query.filter, only=query.filter.search))
    where, values = _conditions(narrowed, now_ms, engine_of(connection))
    found = connection.execute(_select(where, "tenants.id"), {**values, "limit": 1}).fetchone()
    return None if found is None else row_of(found)


def _statements(
    query: TenantQuery, position: Position | None, where: list[str], few: list[int] | None
) -> Iterator[str]:
    """The statements to run, one after the other, until there are enough rows."""
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
    return f"{chosen}SELECT {COLUMNS} FROM {source} {clause}ORDER BY {order} LIMIT :limit"  # noqa: S608  # nosec B608  # text of this module


def _conditions(
    query: TenantQuery, now_ms: int, engine: Engine
) -> tuple[list[str], dict[str, Any]]:
    """The conditions for every row of the list, and their parameters.

    A condition on another column than the sort's is written so that no index serves it:
    otherwise the database may fetch and sort half the table instead of walking the sort's index.
    """
    asked = query.filter
    where: list[str] = []
    values = _values(asked, now_ms)
    if asked.search:
        where.append(search.contains(asked.search, engine))
    if asked.blocked is not None:
        where.append(f"COALESCE(blocked_at, 0) {'>' if asked.blocked else '='} 0")
    if asked.active_within_ms is not None:
        column = "last_active_at" if query.column == "last_active_at" else "last_active_at + 0"
        where.append(f"{column} >= :since")
    if asked.has_errors:
        column = "error_count" if query.column == "error_count" else "error_count + 0"
        where.append(f"{column} > 0")
    if asked.prefix:
        column = "user_id" if query.column == "user_id" else "user_id || ''"
        where.append(f"{column} >= :prefix AND {column} < :prefix_end")
    if asked.only is not None:
        where.append("user_id = :only")
    return where, values


def _few_of(connection: Connection, asked: TenantFilter, now_ms: int) -> list[int] | None:
    """The numbers of the tenants that one of the filters leaves, when they are few."""
    values = {**_values(asked, now_ms), "few": FEW + 1}
    for sql in _sources(asked, engine_of(connection)):
        found = connection.execute(f"{sql} LIMIT :few", values).fetchall()
        if len(found) <= FEW:
            return [row[0] for row in found]
    return None


def _sources(asked: TenantFilter, engine: Engine) -> list[str]:
    """The ways to find the tenants of one filter, the cheapest first."""
    sources: list[str] = []
    if asked.only is not None:
        sources.append("SELECT id FROM tenants WHERE user_id = :only")
    if asked.blocked:
        sources.append("SELECT id FROM tenants WHERE blocked_at IS NOT NULL")
    if asked.has_errors:
        sources.append("SELECT id FROM tenants WHERE error_count > 0")
    if asked.active_within_ms is not None:
        sources.append("SELECT id FROM tenants WHERE last_active_at >= :since")
    if asked.prefix:
        sources.append("SELECT id FROM tenants WHERE user_id >= :prefix AND user_id < :prefix_end")
    if asked.search:
        sources.append(search.candidates(asked.search, engine))
    return sources


def _values(asked: TenantFilter, now_ms: int) -> dict[str, Any]:
    values: dict[str, Any] = search.values(asked.search) if asked.search else {}
    if asked.active_within_ms is not None:
        values["since"] = now_ms - asked.active_within_ms
    if asked.prefix:
        values |= {"prefix": asked.prefix, "prefix_end": asked.prefix + LAST_CHARACTER}
    if asked.only is not None:
        values["only"] = asked.only
    return values
