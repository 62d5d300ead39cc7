"""The SQL of the running summaries of sessions: one row a session, which goes when it does."""

from __future__ import annotations

from typing import Any

from webapp.memory.summary import Summary
from webapp.storage import Connection
from webapp.tenants import store as tenants


def find(connection: Connection, tenant: int, session_id: str) -> Summary | None:
    """The session's summary, None when it has none."""
    row = connection.execute(_FIND, {"tenant": tenant, "session": session_id}).fetchone()
    return None if row is None else Summary(row[0], row[1], int(row[2]))


def keep(
    connection: Connection, tenant: int, session_id: str, summary: Summary, newest: str
) -> bool:
    """Puts it in the place of the session's summary, if nothing was cleared since it was made.

    `newest` is the id of the newest message that the session had then; the tenant is held, so that
    no clear comes in between. It is called before messages are added in the same transaction.
    """
    tenants.hold(connection, tenant)
    who = {"tenant": tenant, "session": session_id}
    row = connection.execute(_NEWEST, who).fetchone()
    if row is None or row[1] != newest:
        return False
    put(connection, tenant, row[0], summary)
    return True


def put(connection: Connection, tenant: int, session: int, summary: Summary) -> None:
    """Puts it in the place of the summary of the session with this number."""
    values: dict[str, Any] = {
        "tenant": tenant,
        "session": session,
        "text": summary.text,
        "through": summary.through,
        "at": summary.made_at_ms,
    }
    connection.execute(_PUT, values)


def restore(connection: Connection, tenant: int, session_id: str, summary: Summary) -> None:
    """Gives a session that was imported its summary."""
    row = connection.execute(_NUMBER, {"tenant": tenant, "session": session_id}).fetchone()
    if row is not None:
        put(connection, tenant, row[0], summary)


def drop_session(connection: Connection, tenant: int, session: int) -> None:
    """Deletes the summary of the session with this number, if it has one."""
    connection.execute(_DROP_SESSION, {"tenant": tenant, "session": session})


def drop_all(connection: Connection, tenant: int) -> None:
    """Deletes the summaries of all the tenant's sessions."""
    connection.execute(
        "DELETE FROM session_summaries WHERE tenant_id = :tenant", {"tenant": tenant}
    )


def drop_made_before(connection: Connection, before_ms: int, limit: int) -> int:
    """Deletes at most `limit` summaries, of all tenants, that were made before then; how many."""
    return connection.execute(_DROP_OLD, {"before": before_ms, "limit": limit}).rowcount


_DROP_OLD = """
    DELETE FROM session_summaries WHERE (tenant_id, session) IN (
        SELECT tenant_id, session FROM session_summaries WHERE made_at < :before LIMIT :limit
    )
"""

_FIND = """
    SELECT content, through, made_at FROM session_summaries
    WHERE tenant_id = :tenant AND session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
"""

_NUMBER = "SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session"

_NEWEST = """
    SELECT session, message_id FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
    ORDER BY seq DESC LIMIT 1
"""

_PUT = """
    INSERT INTO session_summaries (tenant_id, session, content, through, made_at)
    VALUES (:tenant, :session, :text, :through, :at)
    ON CONFLICT (tenant_id, session) DO UPDATE SET
        content = excluded.content, through = excluded.through, made_at = excluded.made_at
"""

_DROP_SESSION = """
    DELETE FROM session_summaries WHERE tenant_id = :tenant AND session = :session
"""
