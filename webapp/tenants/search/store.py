"""The SQL of finding part of a user id among a million: SQLite's FTS5, an index of trigrams.

Nothing else in the house knows of it, so another engine answers these functions in its own way.
"""

from __future__ import annotations

from webapp.storage import Connection, meta
from webapp.tenants import store

TRIGRAM = 3
MAX_TRIGRAMS = 40
# Above so many tenants the index is not merged behind each act, but by housekeeping.
FEW_TO_MERGE = 50_000
STALE = "search_holds_forgotten"
MERGED_PAGES = 64


def contains(search: str) -> str:
    """The condition that a tenant's `user_id` holds the text; its parameters are in `values`."""
    # LIKE folds the case of ASCII alone; other letters are also tried in both cases.
    tries = [f"user_id LIKE :like_{number} ESCAPE '\\'" for number, _ in enumerate(_cases(search))]
    return f"({' OR '.join(tries)})"


def candidates(search: str) -> str:
    """Selects the numbers of all tenants whose id may hold the text, and of a few others."""
    if len(search) >= TRIGRAM:
        return "SELECT rowid FROM tenant_search WHERE tenant_search MATCH :trigrams"
    return f"SELECT id FROM tenants WHERE {contains(search)}"  # noqa: S608  # nosec B608  # text of this module


def values(search: str) -> dict[str, str]:
    """The parameters of both."""
    found = {f"like_{number}": f"%{_escaped(text)}%" for number, text in enumerate(_cases(search))}
    return found | {"trigrams": _trigrams(search)}


def needs_merging(connection: Connection, *, at_once: bool) -> bool:
    """Whether the index is to be merged now; one that is large is noted for later."""
    if not at_once:
        return meta.take(connection, STALE)
    if store.count(connection) <= FEW_TO_MERGE:
        return True
    meta.put_first(connection, STALE, "1")
    return False


def merge(connection: Connection, *, begin: bool) -> bool:
    """A step of merging the index, which keeps deleted ids until then.

    Whether there is more to do; `begin` is for the first step.
    """
    total = "SELECT total_changes()"
    before = int(connection.execute(total).fetchone()[0])
    connection.execute(
        "INSERT INTO tenant_search (tenant_search, rank) VALUES ('merge', :pages)",
        {"pages": -MERGED_PAGES if begin else MERGED_PAGES},
    )
    # The statement itself counts as one; FTS5's manual says so.
    return int(connection.execute(total).fetchone()[0]) - before >= 2


def rebuild(connection: Connection) -> None:
    """Makes the index again: it keeps deleted ids for a while, a new one has none."""
    connection.execute("INSERT INTO tenant_search (tenant_search) VALUES ('rebuild')")


def _cases(search: str) -> list[str]:
    if search.isascii():
        return [search]
    return list(dict.fromkeys((search, search.lower(), search.upper())))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _trigrams(search: str) -> str:
    """All trigrams of the text, in any place: a superset that the conditions narrow."""
    parts = dict.fromkeys(search[at : at + TRIGRAM] for at in range(len(search) - TRIGRAM + 1))
    return " AND ".join('"' + part.replace('"', '""') + '"' for part in list(parts)[:MAX_TRIGRAMS])
