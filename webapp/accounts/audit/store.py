"""The audit log's SQL; what an entry means is in audit.

Another program may have put anything into any column: another type, bytes that are not text. So
texts are read as bytes, numbers as numbers, and each value's real type beside it. A wrong value
makes its entry unsound and raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from webapp.accounts.audit.seal import Head
from webapp.storage import Connection
from webapp.storage.engine import Engine, engine_of

Row = tuple[int, int, str, str, str, str, int | None, str, str, str, str]

_COLUMNS = (
    *("id", "at", "actor", "role", "address", "action", "tenant_id", "target", "before", "after"),
    *("request_id", "previous_hash", "hash"),
)
_NUMBERS = frozenset({"id", "at", "tenant_id"})
# With PostgreSQL every value is of its column's kind.
_SELECTED: dict[Engine, str] = {
    "sqlite": ", ".join(
        (
            *(f"CAST({name} AS {'INTEGER' if name in _NUMBERS else 'BLOB'})" for name in _COLUMNS),
            " || ' ' || ".join(f"typeof({name})" for name in _COLUMNS),
        )
    ),
    "postgres": ", ".join(
        (
            *(name if name in _NUMBERS else f"convert_to({name}, 'UTF8')" for name in _COLUMNS),
            " || ' ' || ".join(
                f"CASE WHEN {name} IS NULL THEN 'null' ELSE"
                f" '{'integer' if name in _NUMBERS else 'text'}' END"
                for name in _COLUMNS
            ),
        )
    ),
}
_SOUND = frozenset(
    " ".join(
        tenant if name == "tenant_id" else "integer" if name in _NUMBERS else "text"
        for name in _COLUMNS
    )
    for tenant in ("integer", "null")
)
_BATCH = 1000
LAST_MOMENT = 253_402_300_799_999

_HEAD: dict[Engine, str] = {
    "sqlite": "SELECT CAST(number AS INTEGER), CAST(hash AS BLOB), CAST(seam AS INTEGER),"
    " CAST(key_id AS BLOB), CAST(mac AS BLOB), typeof(number) || ' ' || typeof(hash)"
    " || ' ' || typeof(seam) || ' ' || typeof(key_id) || ' ' || typeof(mac)"
    " FROM audit_head WHERE one = 1",
    "postgres": "SELECT number, convert_to(hash, 'UTF8'), seam, convert_to(key_id, 'UTF8'),"
    " convert_to(mac, 'UTF8'), CASE WHEN seam IS NULL THEN 'integer text null text text'"
    " ELSE 'integer text integer text text' END FROM audit_head WHERE one = 1",
}

_FILTERS = {
    "actor": "actor = :actor",
    "action": "action = :action",
    "tenant_id": "tenant_id = :tenant_id",
    "since": "at >= :since",
    "until": "at < :until",
}


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A row and its two hashes; not `sound` when a value is not of its column's kind, and then
    shown as well as can be."""

    row: Row
    previous_hash: str
    hash: str
    sound: bool


def head(connection: Connection) -> Head | None:
    """The head as the newest entry's transaction wrote it; None when it is missing or invalid."""
    found = connection.execute(_HEAD[engine_of(connection)], {}).fetchone()
    if found is None or found[5] not in (
        "integer text null text text",
        "integer text integer text text",
    ):
        return None
    try:
        digest, key_id, mac = (found[place].decode() for place in (1, 3, 4))
    except UnicodeDecodeError:
        return None
    return Head(found[0], digest, found[2], key_id, mac)


def put_head(connection: Connection, head: Head) -> None:
    connection.execute(
        "INSERT INTO audit_head (one, number, hash, seam, key_id, mac)"
        " VALUES (1, :number, :hash, :seam, :key_id, :mac) ON CONFLICT (one) DO UPDATE SET"
        " number = excluded.number, hash = excluded.hash, seam = excluded.seam,"
        " key_id = excluded.key_id, mac = excluded.mac",
        {
            "number": head.number,
            "hash": head.hash,
            "seam": head.seam,
            "key_id": head.key_id,
            "mac": head.mac,
        },
    )


def append(connection: Connection, row: Row, previous_hash: str, own_hash: str) -> bool:
    """False when there is an entry of this number already, which nobody here has written."""
    added = connection.execute(
        "INSERT INTO audit (id, at, actor, role, address, action, tenant_id, target, before, after,"
        " request_id, previous_hash, hash) VALUES (:id, :at, :actor, :role, :address, :action,"
        " :tenant_id, :target, :before, :after, :request_id, :previous_hash, :hash)"
        " ON CONFLICT (id) DO NOTHING",
        dict(zip(_COLUMNS, (*row, previous_hash, own_hash), strict=True)),
    )
    return added.rowcount == 1


def newest(connection: Connection) -> StoredEntry | None:
    found = connection.execute(f"{_select(connection)} ORDER BY id DESC LIMIT 1", {}).fetchone()
    return None if found is None else _entry(found)


def next_free(connection: Connection, number: int) -> int:
    """The first number from this one on that no entry has."""
    found = connection.execute(
        "SELECT min(a.id) + 1 FROM audit a WHERE a.id >= :number"
        " AND NOT EXISTS (SELECT 1 FROM audit b WHERE b.id = a.id + 1)",
        {"number": number},
    ).fetchone()
    return number if found[0] is None else int(found[0])


def rows(connection: Connection) -> Iterator[StoredEntry]:
    """Every entry in order."""
    after: int | None = None
    while True:
        # Any number may stand there, the least of all too, so the first batch asks for none.
        where = "" if after is None else "WHERE id > :after"
        batch = connection.execute(
            f"{_select(connection)} {where} ORDER BY id LIMIT :batch",
            {"after": after, "batch": _BATCH},
        ).fetchall()
        yield from map(_entry, batch)
        if len(batch) < _BATCH:
            return
        after = batch[-1][0]


def matching(
    connection: Connection, wanted: dict[str, Any], *, before: int | None, limit: int
) -> list[StoredEntry]:
    conditions = [_FILTERS[name] for name in wanted]
    if before is not None:
        conditions.append("id < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    found = connection.execute(
        # Only conditions from the table above are joined; what was asked for is bound.
        f"{_select(connection)} {where} ORDER BY id DESC LIMIT :limit",
        {**wanted, "before": before, "limit": limit},
    ).fetchall()
    return list(map(_entry, found))


def _select(connection: Connection) -> str:
    return f"SELECT {_SELECTED[engine_of(connection)]} FROM audit"  # noqa: S608  # nosec B608  # our own columns


def _entry(found: Any) -> StoredEntry:
    *values, types = found
    sound = types in _SOUND and 0 <= values[1] <= LAST_MOMENT
    try:
        texts = [value if isinstance(value, int) else _text(value) for value in values]
    except UnicodeDecodeError:
        sound = False
        texts = [value if isinstance(value, int) else _shown(value) for value in values]
    *row, previous_hash, own_hash = texts
    if not sound:
        row[1] = row[1] if isinstance(row[1], int) and 0 <= row[1] <= LAST_MOMENT else 0
    whole: Any = tuple(row)
    return StoredEntry(whole, str(previous_hash or ""), str(own_hash or ""), sound)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _shown(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
