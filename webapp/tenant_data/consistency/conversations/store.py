"""The SQL that recounts messages: how many, and where each session's numbering stands.

Asked for the tenants numbered above `after` and up to `last`, whether such tenants exist or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.storage import Connection

Slice = dict[str, int]


@dataclass(frozen=True, slots=True)
class Conversations:
    """What is stored of one tenant's: its messages, and how many sessions say otherwise."""

    messages: int
    wrong_sessions: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session's own counters beside its rows; `ends` is the newest message's role, `answer` when
    it is one without calls, '' without messages. `systems` counts its system messages."""

    tenant: int
    number: int
    message_count: Any
    messages: int
    last_seq: Any
    newest_seq: int
    ends: str
    systems: int


def of_tenants(connection: Connection, which: Slice) -> dict[int, Conversations]:
    """By tenant; one without a session is not in it."""
    rows = connection.execute(_OF_TENANTS, which).fetchall()
    return {row[0]: Conversations(int(row[1]), int(row[2])) for row in rows}


def doubtful_sessions(connection: Connection, which: Slice) -> list[Session]:
    """Those whose counters are not plainly those of their rows."""
    return [Session(*row) for row in connection.execute(_DOUBTFUL, which).fetchall()]


_COUNTED = """
    SELECT s.tenant_id, s.id, s.message_count, s.last_seq, COUNT(m.seq) AS messages,
        COALESCE(MAX(m.seq), s.last_seq) AS newest
    FROM sessions s LEFT JOIN messages m ON m.session = s.id
        /*pg AND m.tenant_id = s.tenant_id */
    WHERE s.tenant_id > :after AND s.tenant_id <= :last
    GROUP BY s.tenant_id, s.id
"""
_OF_TENANTS = f"""
    SELECT tenant_id, SUM(messages),
        SUM(CASE WHEN message_count <> messages OR last_seq <> newest THEN 1 ELSE 0 END)
    FROM ({_COUNTED}) AS counted GROUP BY tenant_id
"""  # noqa: S608  # nosec B608  # text of this module
_DOUBTFUL = f"""
    SELECT tenant_id, id, message_count, messages, last_seq, newest,
        COALESCE((
            SELECT CASE WHEN role = 'assistant' AND tool_calls IS NULL THEN 'answer' ELSE role END
            FROM messages WHERE /*pg tenant_id = counted.tenant_id AND */ session = counted.id
            ORDER BY seq DESC LIMIT 1
        ), ''),
        (SELECT COUNT(*) FROM messages
         WHERE /*pg tenant_id = counted.tenant_id AND */ session = counted.id AND role = 'system')
    FROM ({_COUNTED}) AS counted WHERE message_count <> messages OR last_seq <> newest
"""  # noqa: S608  # nosec B608  # as above
