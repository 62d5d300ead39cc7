"""The SQL of failed tries to sign in; how many there may be is in tries."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection

MAX_ROWS = 20_000

_SET = (
    "INSERT INTO sign_in_tries (who, failures, since, free_at)"
    " VALUES (:who, :failures, :since, :free_at) ON CONFLICT (who) DO UPDATE SET"
    " failures = excluded.failures, since = excluded.since, free_at = excluded.free_at"
)
# The rows that say least go first: to push out one with many failures takes many more of others.
_SPILL = (
    "DELETE FROM sign_in_tries WHERE who IN (SELECT who FROM sign_in_tries"
    " ORDER BY failures DESC, since DESC LIMIT 1000 OFFSET :most)"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """Failures since a moment, and when the next try may begin; milliseconds since 1970 UTC."""

    failures: int
    since: int
    free_at: int


def find(connection: Connection, who: str) -> Tried | None:
    row = connection.execute(
        "SELECT failures, since, free_at FROM sign_in_tries WHERE who = :who", {"who": who}
    ).fetchone()
    return None if row is None else Tried(*row)


def put(connection: Connection, who: str, tried: Tried) -> None:
    row = {"failures": tried.failures, "since": tried.since, "free_at": tried.free_at}
    connection.execute(_SET, {"who": who, **row})


def forgive(connection: Connection, who: str) -> None:
    """One failure less: the try that was counted beforehand has succeeded."""
    connection.execute(
        "UPDATE sign_in_tries SET failures = failures - 1 WHERE who = :who AND failures > 0",
        {"who": who},
    )


def drop_old(connection: Connection, before: int) -> None:
    """Forgets the windows that are over, and the least of them when there are too many."""
    connection.execute("DELETE FROM sign_in_tries WHERE since <= :before", {"before": before})
    count = connection.execute("SELECT count(*) FROM sign_in_tries", {}).fetchone()[0]
    if count > MAX_ROWS:
        connection.execute(_SPILL, {"most": MAX_ROWS})
