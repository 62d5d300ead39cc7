"""The audit log's SQL; what an entry means is in audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from webapp.storage import Connection

Row = tuple[int, int, str, str, str, str, int | None, str, str, str, str]

_COLUMNS = (
    "id",
    "at",
    "actor",
    "role",
    "address",
    "action",
    "tenant_id",
    "target",
    "before",
    "after",
    "request_id",
    "previous_hash",
    "hash",
)
_BATCH = 1000
_HEAD = "audit_head"

_FILTERS = {
    "actor": "actor = :actor",
    "action": "action = :action",
    "tenant_id": "tenant_id = :tenant_id",
    "since": "at >= :since",
    "until": "at < :until",
}


def head(connection: Connection) -> tuple[int, str] | None:
    """The newest entry's number and hash, as they were noted when it was added."""
    row = connection.execute(
        "SELECT value FROM meta WHERE name = :name", {"name": _HEAD}
    ).fetchone()
    if row is None:
        return None
    number, _, digest = row[0].partition(" ")
    return int(number), digest


def append(connection: Connection, row: Row, previous_hash: str, own_hash: str) -> None:
    connection.execute(
        "INSERT INTO audit (id, at, actor, role, address, action, tenant_id, target, before, after,"
        " request_id, previous_hash, hash) VALUES (:id, :at, :actor, :role, :address, :action,"
        " :tenant_id, :target, :before, :after, :request_id, :previous_hash, :hash)",
        dict(zip(_COLUMNS, (*row, previous_hash, own_hash), strict=True)),
    )
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, :value) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {"name": _HEAD, "value": f"{row[0]} {own_hash}"},
    )


def rows(connection: Connection) -> Iterator[Any]:
    """Every row in order, with both hashes at its end."""
    last = -(2**63)
    while True:
        batch = connection.execute(
            "SELECT id, at, actor, role, address, action, tenant_id, target, before, after,"
            " request_id, previous_hash, hash FROM audit WHERE id > :last"
            " ORDER BY id LIMIT :batch",
            {"last": last, "batch": _BATCH},
        ).fetchall()
        yield from batch
        if len(batch) < _BATCH:
            return
        last = batch[-1][0]


def matching(
    connection: Connection, wanted: dict[str, Any], *, before: int | None, limit: int
) -> list[Any]:
    conditions = [_FILTERS[name] for name in wanted]
    if before is not None:
        conditions.append("id < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return connection.execute(
        "SELECT id, at, actor, role, address, action, tenant_id, target, before, after,"  # noqa: S608  # nosec B608
        # Only conditions from the table above are joined; what was asked for is bound.
        f" request_id, hash FROM audit {where} ORDER BY id DESC LIMIT :limit",
        {**wanted, "before": before, "limit": limit},
    ).fetchall()
