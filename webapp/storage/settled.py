"""Tells which rows of a table of facts are settled; the answer depends on the engine."""

from __future__ import annotations

from webapp.storage.database import Connection
from webapp.storage.engine import engine_of


def settled_through(connection: Connection) -> int:
    """The number up to which every request is stored, or never will be.

    SQLite lets one transaction write at a time, so numbers are given in the order of commits and
    the newest one that can be seen is the answer. PostgreSQL gives numbers before the commit: a
    lower one may still come.
    """
    if engine_of(connection) == "postgres":
        return _behind_the_mark(connection)
    found = connection.execute("SELECT COALESCE(MAX(id), 0) FROM requests", {})
    return int(found.fetchone()[0])


def newest_number(connection: Connection) -> int:
    """The newest number that a request was ever given, whether it is still there or not.

    SQLite keeps it in a table of its own, PostgreSQL in a sequence.
    """
    if engine_of(connection) == "postgres":
        found = connection.execute("SELECT last_value FROM requests_numbers", {})
        return int(found.fetchone()[0])
    found = connection.execute(
        "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'requests'", {}
    )
    return max(int(found.fetchone()[0]), settled_through(connection))


def _behind_the_mark(connection: Connection) -> int:
    """The mark, once every transaction has ended that was there when it was set.

    A transaction has its own number before it takes one of a request (see the column's default).
    So whoever took a number up to the newest that can be seen has a number of its own below the
    snapshot's end.
    """
    others, newest, begins, ends, through, mark, mark_ends = connection.execute(_LOOK).fetchone()
    if not others:
        return max(int(newest), int(through))  # no other transaction is under way
    # A restored database may be of a server that had counted further.
    if mark > through and mark_ends <= begins:
        return int(mark)
    if (mark <= through or mark_ends > ends) and newest > through:
        connection.execute(
            _MARK, {"newest": newest, "ends": ends, "through": through, "mark": mark}
        )
    return int(through)


_LOOK = """
    SELECT (SELECT COUNT(*) FROM pg_snapshot_xip(pg_current_snapshot())),
        (SELECT COALESCE(MAX(id), 0) FROM requests),
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
        through, mark, mark_xid
    FROM usage_rollup
"""
_MARK = """
    UPDATE usage_rollup SET mark = :newest, mark_xid = :ends
    WHERE through = :through AND mark = :mark
"""
