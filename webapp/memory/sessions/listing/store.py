"""Reads a page of a tenant's sessions in any order.

There is no index but that of the tenant: it would be written with every turn, and a tenant's
sessions are few beside all. A page looks at each of them once.
"""

from __future__ import annotations

from typing import Any

from webapp.memory.sessions.listing.query import Page, Position, SessionQuery
from webapp.memory.sessions.store import COLUMNS, FIRST_QUESTION, TITLE, summary_of
from webapp.storage import Connection
from webapp.storage.engine import engine_of

# A session without a title stands where its first question does; the key is never NULL.
_SHOWN = f"COALESCE({TITLE}, {FIRST_QUESTION}, '')"
_KEYS = {
    "title": f'lower({_SHOWN} /*pg COLLATE "C" */)',
    "total_tokens": "input_tokens + output_tokens",
}


def page(connection: Connection, tenant: int, query: SessionQuery) -> Page:
    """The page that the query asks for. A position of another tenant gives what this tenant has
    there."""
    if query.matches_nothing:
        return Page(())
    position = query.position
    forward = position is None or position.forward
    values: dict[str, Any] = {"tenant": tenant, "limit": query.limit + 1}
    sql = _select(query, values, engine_of(connection))
    found = connection.execute(sql, values).fetchall()
    more = len(found) > query.limit
    found = found[: query.limit]
    if not forward:
        found.reverse()
    if not found:
        return Page(())
    has_next, has_previous = (more, position is not None) if forward else (True, more)
    return Page(
        tuple(summary_of(row[1:]) for row in found),
        Position(True, found[-1][0], found[-1][1]) if has_next else None,
        Position(False, found[0][0], found[0][1]) if has_previous else None,
    )


def _select(query: SessionQuery, values: dict[str, Any], engine: str) -> str:
    """The statement; what the caller sent is in `values`."""
    key = _KEYS.get(query.column, query.column)
    forward = query.position is None or query.position.forward
    direction, beyond = ("DESC", "<") if query.descending == forward else ("ASC", ">")
    where = ["tenant_id = :tenant"]
    if query.search:
        where.append(_contains(query.search, values, engine))
    placed = ""
    if query.position is not None:
        values |= {"value": query.position.value, "number": query.position.number}
        placed = f"WHERE (sort_key, id) {beyond} (:value, :number)"
    return f"""
        SELECT * FROM (
            SELECT {key} AS sort_key, {COLUMNS} FROM sessions WHERE {" AND ".join(where)}
        ) AS listed {placed}
        ORDER BY sort_key {direction}, id {direction} LIMIT :limit
    """  # noqa: S608  # nosec B608  # text of this module


def _contains(search: str, values: dict[str, Any], engine: str) -> str:
    """Whether an id or a title holds the text; it folds the case of ASCII, and tries other letters
    in both cases."""
    like = "LIKE" if engine == "sqlite" else "ILIKE"
    tries = [search] if search.isascii() else [search, search.lower(), search.upper()]
    conditions = []
    for number, text in enumerate(dict.fromkeys(tries)):
        values[f"like_{number}"] = f"%{_escaped(text)}%"
        conditions += [
            f"{column} {like} :like_{number} ESCAPE '\\'" for column in ("session_id", _SHOWN)
        ]
    return f"({' OR '.join(conditions)})"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
