"""The SQL of finding part of a user id among a million, by an index of trigrams.

SQLite's is FTS5, PostgreSQL's the extension pg_trgm; nothing else in the house knows of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from webapp.storage import Connection, meta
from webapp.storage.engine import Engine, engine_of
from webapp.tenants import store

TRIGRAM = 3
MAX_TRIGRAMS = 40
# Above so many tenants the index is not merged behind each act, but by housekeeping.
FEW_TO_MERGE = 50_000
STALE = "search_holds_forgotten"
MERGED_PAGES = 64
# Places in which tenants are marked, to find those whose index is wrong without a list of all.
MARKS = 1 << 16
TRIED = 10_000


def contains(search: str, engine: Engine) -> str:
    """The condition that a tenant's `user_id` holds the text; its parameters are in `values`."""
    # It folds the case of ASCII alone; other letters are also tried in both cases.
    like = "LIKE" if engine == "sqlite" else "ILIKE"
    tries = [
        f"user_id {like} :like_{number} ESCAPE '\\'" for number, _ in enumerate(_cases(search))
    ]
    return f"({' OR '.join(tries)})"


def candidates(search: str, engine: Engine) -> str:
    """Selects the numbers of all tenants whose id may hold the text, and of a few others."""
    if engine == "postgres":
        return f"SELECT tenant_id FROM tenant_search WHERE {contains(search, engine)}"  # noqa: S608  # nosec B608  # text of this module
    if len(search) >= TRIGRAM:
        return "SELECT rowid FROM tenant_search WHERE tenant_search MATCH :trigrams"
    return f"SELECT id FROM tenants WHERE {contains(search, engine)}"  # noqa: S608  # nosec B608  # text of this module


def values(search: str) -> dict[str, str]:
    """The parameters of both."""
    found = {f"like_{number}": f"%{_escaped(text)}%" for number, text in enumerate(_cases(search))}
    return found | {"trigrams": _trigrams(search)}


def needs_merging(connection: Connection, *, at_once: bool) -> bool:
    """Whether the index is to be merged now; one that is large is noted for later. PostgreSQL's
    own vacuum takes out what was deleted."""
    if engine_of(connection) == "postgres":
        return False
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
    """Makes the index again: it keeps deleted ids for a while, a new one has none. On PostgreSQL
    the table is written anew behind it, and the index with it."""
    if engine_of(connection) == "postgres":
        return
    connection.execute("INSERT INTO tenant_search (tenant_search) VALUES ('rebuild')")


def out_of_step(connection: Connection) -> list[int]:
    """The tenants that the index does not find by their ids, and numbers in it that are no
    tenant's. Reads all of both: half a minute for a million, in little memory."""
    if engine_of(connection) == "postgres":
        return [row[0] for row in connection.execute(_OTHER_IDS).fetchall()]
    wrong = {row[0] for row in connection.execute(_NOT_INDEXED).fetchall()}
    marks = [0] * MARKS
    ids = connection.execute("SELECT id, user_id FROM tenants")
    while (row := ids.fetchone()) is not None:
        for term in _terms(row[1]):
            marks[row[0] % MARKS] ^= hash((row[0], term))
    for number, term in _indexed(connection):
        marks[number % MARKS] ^= hash((number, term))
    doubtful = {place for place, mark in enumerate(marks) if mark}
    return sorted(wrong | set(_not_found(connection, doubtful)))


def _terms(user_id: str) -> set[str]:
    folded = user_id.lower()
    return {folded[at : at + TRIGRAM] for at in range(len(folded) - TRIGRAM + 1)}


def _indexed(connection: Connection) -> Iterator[tuple[int, str]]:
    """Everything in the index; it is read through a table that this connection alone sees."""
    connection.execute("PRAGMA query_only = OFF")
    connection.execute(_LIST_INDEX)
    try:
        found = connection.execute("SELECT doc, term FROM temp.tenant_terms")
        while (row := found.fetchone()) is not None:
            yield row
    finally:
        connection.execute("DROP TABLE temp.tenant_terms")
        connection.execute("PRAGMA query_only = ON")


def _not_found(connection: Connection, doubtful: set[int]) -> Iterator[int]:
    """Those of the doubtful places that a search for their whole ids does not find: letters that
    FTS5 folds in another way than Python only look wrong."""
    tried = 0
    ids = connection.execute("SELECT id, user_id FROM tenants")
    while doubtful and tried < TRIED and (row := ids.fetchone()) is not None:
        number, user_id = row
        if number % MARKS in doubtful and len(user_id) >= TRIGRAM:
            tried += 1
            asked = {"number": number, "trigrams": _trigrams(user_id)}
            if connection.execute(_FOUND, asked).fetchone() is None:
                yield number


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


_OTHER_IDS = """
    SELECT COALESCE(tenants.id, tenant_id) FROM tenants
    FULL JOIN tenant_search ON tenant_id = tenants.id
    WHERE tenants.user_id IS DISTINCT FROM tenant_search.user_id ORDER BY 1
"""
# FTS5 keeps a row of its own for each that is indexed.
_NOT_INDEXED = """
    SELECT id FROM tenants
    WHERE NOT EXISTS (SELECT 1 FROM tenant_search_docsize AS kept WHERE kept.id = tenants.id)
    UNION ALL
    SELECT id FROM tenant_search_docsize AS kept
    WHERE NOT EXISTS (SELECT 1 FROM tenants WHERE tenants.id = kept.id)
"""
_LIST_INDEX = (
    "CREATE VIRTUAL TABLE temp.tenant_terms USING fts5vocab (main, tenant_search, instance)"
)
_FOUND = "SELECT 1 FROM tenant_search WHERE rowid = :number AND tenant_search MATCH :trigrams"
