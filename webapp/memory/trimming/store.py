"""The cap applied to the rows of one session, without reading what the messages say."""

from __future__ import annotations

from typing import Any

from webapp.memory.capacity import Outline, cut, oldest_turns
from webapp.storage import Connection
from webapp.storage.database import Ask
from webapp.storage.engine import run

# Rows looked at beyond those that must go: mostly the next turn begins among them.
LOOK_AHEAD = 8

# A seq below which no row lies; rows that change places pass through there.
FAR_AWAY = 1 << 48

_SESSION = "/*pg tenant_id = :tenant AND */ session = :session"


def oldest_of(tenant: int, session_id: str, limit: int) -> Ask:
    """For a server: the rows that `trim` looks at, asked for by the session's name."""
    return _OLDEST_OF_NAME, {"tenant": tenant, "session": session_id, "limit": limit}


def trim(
    connection: Connection,
    tenant: int,
    session: int,
    size: int,
    cap: int,
    seen: list[Any] | None = None,
) -> int:
    """Deletes what `fit` would leave out of a session of `size` messages; returns how many.

    `seen` are its oldest rows, some of them or all, if they were read before.
    """
    excess = size - cap
    look = {"tenant": tenant, "session": session, "limit": excess + LOOK_AHEAD}
    if seen is not None and len(seen) < look["limit"]:
        seen = None
    while True:
        rows = seen or connection.execute(_OLDEST, look).fetchall()
        seen = None
        systems = 0
        while systems < len(rows) and rows[systems][1] == "system":
            systems += 1
        others = rows[systems:]
        turns = oldest_turns([role for _, role, _ in others], excess)
        if turns is not None or len(rows) < look["limit"]:
            break
        look["limit"] *= 2
    # A system message behind the front is moved there.
    if turns is None or (rows[0][2] is not None and rows[0][2] > others[0][0]):
        return _trim_by_all_roles(connection, tenant, session, cap)
    run(
        connection,
        f"DELETE FROM messages WHERE {_SESSION} AND seq >= :first AND seq < :end",  # noqa: S608  # nosec B608  # a constant
        {"tenant": tenant, "session": session, "first": others[0][0], "end": others[turns][0]},
    )
    return turns


def _trim_by_all_roles(connection: Connection, tenant: int, session: int, cap: int) -> int:
    """The whole rule: for a newest turn that is too large, and system messages in odd places."""
    read = connection.execute(_ROLES, {"tenant": tenant, "session": session}).fetchall()
    rows = [Outline.of(*row) for row in read]
    kept = cut(rows, cap)
    staying = {row.seq for row in kept}
    connection.executemany(
        f"DELETE FROM messages WHERE {_SESSION} AND seq = :seq",  # noqa: S608  # nosec B608  # a constant
        [
            {"tenant": tenant, "session": session, "seq": row.seq}
            for row in rows
            if row.seq not in staying
        ],
    )
    systems = [row.seq for row in kept if row.role == "system"]
    others = [row.seq for row in kept if row.role != "system"]
    if systems and others and systems[-1] > others[0]:
        _move_before(connection, tenant, session, systems, others[0])
    return len(rows) - len(kept)


def _move_before(
    connection: Connection, tenant: int, session: int, seqs: list[int], place: int
) -> None:
    """Gives the rows `seqs` the last numbers before `place`, in their order."""
    first = place - len(seqs)
    move = f"UPDATE messages SET seq = :to WHERE {_SESSION} AND seq = :from"  # noqa: S608  # nosec B608  # a constant
    which = {"tenant": tenant, "session": session}
    aside = [{**which, "from": seq, "to": seq - FAR_AWAY} for seq in seqs]
    back = [{**which, "from": step["to"], "to": first + index} for index, step in enumerate(aside)]
    connection.executemany(move, [*aside, *back])


# With each row, where the newest system message stands: the database looks for it once.
_OLDEST = f"""
    SELECT seq, role, (
        SELECT seq FROM messages WHERE {_SESSION} AND role = 'system'
        ORDER BY seq DESC LIMIT 1
    ) AS newest_system
    FROM messages WHERE {_SESSION} ORDER BY seq LIMIT :limit
"""  # noqa: S608  # nosec B608  # a constant

_OLDEST_OF_NAME = _OLDEST.replace(
    "session = :session",
    "session = (SELECT id FROM sessions WHERE tenant_id = :tenant AND session_id = :session)",
)

_ROLES = f"""
    SELECT seq, role, tool_calls IS NOT NULL FROM messages WHERE {_SESSION} ORDER BY seq
"""  # noqa: S608  # nosec B608  # a constant
