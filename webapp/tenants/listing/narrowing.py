"""The filters of a list of tenants as SQL, and the search for part of an id; see listing.py."""

from __future__ import annotations

from typing import Any

from webapp.storage import Connection
from webapp.tenants.listing.query import TenantFilter, TenantQuery

FEW = 5000
TRIGRAM = 3
MAX_TRIGRAMS = 40
LAST_CHARACTER = "\U0010ffff"


def conditions(query: TenantQuery, now_ms: int) -> tuple[list[str], dict[str, Any]]:
    """What every row of the list fulfils, and the parameters for it.

    A condition on another column than the sort's is written so that no index serves it:
    otherwise the database may fetch and sort half the table instead of walking the sort's index.
    """
    asked = query.filter
    where: list[str] = []
    values = _values(asked, now_ms)
    if asked.search:
        where.append(_contains(asked.search))
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


def few_of(connection: Connection, asked: TenantFilter, now_ms: int) -> list[int] | None:
    """The numbers of the tenants that one of the filters leaves, when they are few."""
    values = {**_values(asked, now_ms), "few": FEW + 1}
    for sql in _sources(asked):
        found = connection.execute(f"{sql} LIMIT :few", values).fetchall()
        if len(found) <= FEW:
            return [row[0] for row in found]
    return None


def _sources(asked: TenantFilter) -> list[str]:
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
    if len(asked.search) >= TRIGRAM:
        sources.append("SELECT rowid FROM tenant_search WHERE tenant_search MATCH :trigrams")
    elif asked.search:
        sources.append(f"SELECT id FROM tenants WHERE {_contains(asked.search)}")  # noqa: S608  # nosec B608
    return sources


def _values(asked: TenantFilter, now_ms: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if asked.search:
        for number, text in enumerate(_cases(asked.search)):
            values[f"like_{number}"] = f"%{_escaped(text)}%"
        values["trigrams"] = _trigrams(asked.search)
    if asked.active_within_ms is not None:
        values["since"] = now_ms - asked.active_within_ms
    if asked.prefix:
        values |= {"prefix": asked.prefix, "prefix_end": asked.prefix + LAST_CHARACTER}
    if asked.only is not None:
        values["only"] = asked.only
    return values


def _contains(search: str) -> str:
    # LIKE folds the case of ASCII alone; other letters are also tried in both cases.
    tries = [f"user_id LIKE :like_{number} ESCAPE '\\'" for number, _ in enumerate(_cases(search))]
    return f"({' OR '.join(tries)})"


def _cases(search: str) -> list[str]:
    return (
        [search]
        if search.isascii()
        else list(dict.fromkeys((search, search.lower(), search.upper())))
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _trigrams(search: str) -> str:
    """All trigrams of the text, in any place: a superset that the conditions narrow."""
    parts = dict.fromkeys(search[at : at + TRIGRAM] for at in range(len(search) - TRIGRAM + 1))
    return " AND ".join('"' + part.replace('"', '""') + '"' for part in list(parts)[:MAX_TRIGRAMS])
