"""The SQL of kept answers; what a key is and what an answer says is chat/idempotency.py's."""

from __future__ import annotations

from webapp.storage import Connection


def find(connection: Connection, tenant: int, key: str, since_ms: int) -> tuple[str, str] | None:
    """The hash of the body and the answer that are kept for a key, not older than that."""
    row = connection.execute(
        "SELECT body_hash, answer FROM idempotency"
        " WHERE tenant_id = :tenant AND key_hash = :key AND created_at > :since",
        {"tenant": tenant, "key": key, "since": since_ms},
    ).fetchone()
    return None if row is None else (row[0], row[1])


def keep(
    connection: Connection,
    tenant: int,
    key: str,
    *,
    body: str,
    session_id: str,
    answer: str,
    now_ms: int,
    since_ms: int,
) -> bool:
    """Keeps the answer, also in the place of one that is older; False when there is one."""
    kept = connection.execute(
        "INSERT INTO idempotency (tenant_id, key_hash, body_hash, session_id, answer, created_at)"
        " VALUES (:tenant, :key, :body, :session, :answer, :now)"
        " ON CONFLICT (tenant_id, key_hash) DO UPDATE SET body_hash = excluded.body_hash,"
        " session_id = excluded.session_id, answer = excluded.answer,"
        " created_at = excluded.created_at"
        " WHERE idempotency.created_at <= :since",
        {
            "tenant": tenant,
            "key": key,
            "body": body,
            "session": session_id,
            "answer": answer,
            "now": now_ms,
            "since": since_ms,
        },
    )
    return kept.rowcount > 0


def clear(connection: Connection, tenant: int) -> None:
    connection.execute("DELETE FROM idempotency WHERE tenant_id = :tenant", {"tenant": tenant})


def clear_session(connection: Connection, tenant: int, session_id: str) -> None:
    """Drops the answers of one session, and those of whose session nothing is known: they are older
    than the column is, and would be a day old at most."""
    connection.execute(
        "DELETE FROM idempotency WHERE tenant_id = :tenant AND session_id IN (:session, '')",
        {"tenant": tenant, "session": session_id},
    )


def clear_left(connection: Connection, most: int) -> int:
    """Drops some answers of tenants without a message; gives their number."""
    return connection.execute(_LEFT, {"most": most}).rowcount


def prune(connection: Connection, since_ms: int, most: int) -> int:
    """Drops at most `most` of the answers that are old enough; gives their number."""
    return connection.execute(_OLD, {"since": since_ms, "most": most}).rowcount


_LEFT = """
    DELETE FROM idempotency WHERE (tenant_id, key_hash) IN (
        SELECT tenant_id, key_hash FROM idempotency WHERE NOT EXISTS (
            SELECT 1 FROM sessions
            WHERE sessions.tenant_id = idempotency.tenant_id AND message_count > 0
        ) LIMIT :most
    )
"""

_OLD = """
    DELETE FROM idempotency WHERE (tenant_id, key_hash) IN (
        SELECT tenant_id, key_hash FROM idempotency WHERE created_at <= :since LIMIT :most
    )
"""
