"""The SQL of conversations: append a turn. Clearing and reading are beside it.

A tenant is its number, a session its name. Nothing here looks at another tenant's rows, and
every write keeps the counters of `sessions` in step with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.memory.arguments import not_storable
from webapp.memory.capacity import without_orphans
from webapp.memory.rows import calls_of, columns_of, row_of
from webapp.memory.sessions.titles import LOOKED_AT, opening_of, shortened
from webapp.memory.trimming.store import LOOK_AHEAD, oldest_of, trim
from webapp.messages import Message
from webapp.storage import Connection
from webapp.storage.database import Ask, Rows
from webapp.storage.engine import ServerConnection, run


@dataclass(frozen=True, slots=True)
class Growth:
    """The size of a session after an append, how many messages it has more, or fewer, and whether
    the append made it."""

    size: int
    added: int
    made: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What an append adds to a session's figures: a turn and its tokens, or nothing."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


NOTHING = Counted()


def append(
    connection: Connection,
    tenant: int,
    session_id: str,
    messages: Sequence[Message],
    cap: int,
    now_ms: int,
    counted: Counted = NOTHING,
) -> Growth | None:
    """Stores messages at the end of a session and cuts it to `cap` (0 keeps all) as `fit` does.

    None when the tenant has been forgotten: then nothing is stored. The caller counts what was
    added in the tenant's row. The cost does not grow with the session. Raises `InvalidInput` for
    a lone surrogate.
    """
    if messages and messages[0].role != "user" and any(m.role == "tool" for m in messages):
        calls = _calls_under_way(connection, tenant, session_id)
        messages = without_orphans(messages, calls)
    elif any(m.role == "tool" for m in messages):
        messages = without_orphans(messages)
    if not messages:
        return _as_it_is(connection, tenant, session_id)
    arriving = _arriving(tenant, session_id, len(messages), now_ms, counted)
    row = connection.execute(_EXTEND_SESSION, arriving).fetchone()
    made = row is None
    if made:
        opening = opening_of(messages)
        row = connection.execute(_MAKE_SESSION, {**arriving, "opening": opening}).fetchone()
        if row is None:
            return None
    session, size, last_seq, untitled = row
    first_seq = last_seq - len(messages) + 1
    try:
        connection.executemany(
            _INSERT,
            [
                row_of(message, tenant, session, first_seq + index)
                for index, message in enumerate(messages)
            ],
        )
    except UnicodeEncodeError as error:
        raise not_storable() from error
    if untitled and not made:
        _open(connection, tenant, session, messages, size)
    return _cut(connection, tenant, session, size, cap, len(messages), made=made)


def append_turn(
    connection: ServerConnection,
    tenant: int,
    session_id: str,
    messages: Sequence[Message],
    cap: int,
    now_ms: int,
    before: Ask,
    counted: Counted = NOTHING,
) -> tuple[Rows, Growth | None]:
    """For a server: `append` of a turn, which begins with its question, in one way there and back;
    another question is asked before it, whose rows it gives."""
    if any(m.role == "tool" for m in messages):
        messages = without_orphans(messages)
    who = {"tenant": tenant, "session": session_id}
    others, extended, _, *oldest = connection.execute_together(
        (
            before,
            (_EXTEND_SESSION, _arriving(tenant, session_id, len(messages), now_ms, counted)),
            (_INSERT_BEHIND, {**who, **columns_of(messages)}),
            *((oldest_of(tenant, session_id, len(messages) + LOOK_AHEAD),) if cap else ()),
        )
    )
    row = extended.fetchone()
    if row is None:
        return others, append(connection, tenant, session_id, messages, cap, now_ms, counted)
    session, size, _, untitled = row
    seen = oldest[0].fetchall() if oldest else None
    if untitled:
        _open(connection, tenant, session, messages, size)
    return others, _cut(connection, tenant, session, size, cap, len(messages), seen)


def _cut(
    connection: Connection,
    tenant: int,
    session: int,
    size: int,
    cap: int,
    added: int,
    seen: list[Any] | None = None,
    *,
    made: bool = False,
) -> Growth:
    gone = 0
    if 0 < cap < size:
        gone = trim(connection, tenant, session, size, cap, seen)
        run(connection, _SHRINK_SESSION, {"tenant": tenant, "id": session, "gone": gone})
    return Growth(int(size) - gone, added - gone, made)


def _arriving(
    tenant: int, session_id: str, number: int, now_ms: int, counted: Counted
) -> dict[str, Any]:
    """What a session's row is told of the messages that come."""
    return {
        "tenant": tenant,
        "session": session_id,
        "number": number,
        "now": now_ms,
        "turns": counted.turns,
        "input": counted.input_tokens,
        "output": counted.output_tokens,
    }


def _open(
    connection: Connection, tenant: int, session: int, messages: Sequence[Message], size: int
) -> None:
    """Notes the first question of a session that was there without one: cleared, or older than
    titles are."""
    opening = opening_of(messages)
    which = {"tenant": tenant, "id": session}
    if size > len(messages):
        oldest = connection.execute(_OLDEST_QUESTION, which).fetchone()
        opening = None if oldest is None else shortened(oldest[0])
    if opening is not None:
        run(connection, _OPEN_SESSION, {**which, "opening": opening})


def size(connection: Connection, tenant: int, session_id: str) -> int:
    """The number of messages of one session; 0 when there is none."""
    row = connection.execute(_SIZE, {"tenant": tenant, "session": session_id}).fetchone()
    return 0 if row is None else int(row[0])


def _as_it_is(connection: Connection, tenant: int, session_id: str) -> Growth | None:
    known = connection.execute("SELECT 1 FROM tenants WHERE id = :tenant", {"tenant": tenant})
    return None if known.fetchone() is None else Growth(size(connection, tenant, session_id), 0)


def _calls_under_way(connection: Connection, tenant: int, session_id: str) -> list[str]:
    """The ids of the calls in the session's newest turn, which the next messages may continue."""
    rows = connection.execute(_CALLS, {"tenant": tenant, "session": session_id})
    calls: list[str] = []
    while (row := rows.fetchone()) is not None and row[0] != "user":
        calls += [call.id for call in calls_of(row[1])]
    return calls


_CALLS = """
    SELECT role, tool_calls FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session =
        (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)
        AND (role = 'user' OR tool_calls IS NOT NULL)
    ORDER BY seq DESC
"""

_EXTEND_SESSION = """
    UPDATE sessions SET message_count = message_count + :number, last_seq = last_seq + :number,
        last_active_at = :now, turn_count = turn_count + :turns,
        input_tokens = input_tokens + :input, output_tokens = output_tokens + :output
    WHERE tenant_id = :tenant AND session_id = :session
    RETURNING id, message_count, last_seq, opening IS NULL
"""

# A session goes with its tenant, so only a first message needs to ask whether that still exists.
_MAKE_SESSION = """
    INSERT INTO sessions
        (tenant_id, session_id, created_at, last_active_at, message_count, last_seq,
        opening, turn_count, input_tokens, output_tokens)
    SELECT id, :session, :now, :now, :number, :number, :opening, :turns, :input, :output
    FROM tenants WHERE id = :tenant
    RETURNING id, message_count, last_seq, opening IS NULL
"""

_INSERT = """
    INSERT INTO messages
        (/*pg tenant_id, */ session, seq, message_id, role, content, tool_calls, tool_call_id,
        created_at)
    VALUES (/*pg :tenant, */ :session, :seq, :message_id, :role, :content, :tool_calls,
        :tool_call_id, :created_at)
"""

# The session has been extended by then.
_INSERT_BEHIND = """
    INSERT INTO messages (tenant_id, session, seq, message_id, role, content, tool_calls,
        tool_call_id, created_at)
    SELECT tenant_id, id, last_seq - cardinality(:message_id) + number,
        message_id, role, content, tool_calls, tool_call_id, said_at
    FROM sessions, unnest(:message_id, :role, :content, :tool_calls, :tool_call_id, :created_at)
        WITH ORDINALITY AS said
        (message_id, role, content, tool_calls, tool_call_id, said_at, number)
    WHERE tenant_id = :tenant AND session_id = :session
"""

_SHRINK_SESSION = """
    UPDATE sessions SET message_count = message_count - :gone
    WHERE /*pg tenant_id = :tenant AND */ id = :id
"""

_OLDEST_QUESTION = f"""
    SELECT substr(content, 1, {LOOKED_AT:d}) FROM messages
    WHERE /*pg tenant_id = :tenant AND */ session = :id AND role = 'user' ORDER BY seq LIMIT 1
"""  # noqa: S608  # nosec B608  # a constant

_OPEN_SESSION = """
    UPDATE sessions SET opening = :opening WHERE /*pg tenant_id = :tenant AND */ id = :id
"""

_SIZE = """
    SELECT message_count FROM sessions WHERE tenant_id = :tenant AND session_id = :session
"""
