"""The SQL of tools' calls: facts as turns write them, sums by hour, and both for a window.

A turn that called tools writes its facts in one statement, and nobody else's rows. Facts become
sums by being taken away: a fact that is not committed yet is not seen, and is summed the next time.
Nothing here is a tenant's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.periods import HOUR_MS
from webapp.storage import Connection
from webapp.usage.histogram import bucket_of

# Facts of the last hours stay as they are, for windows that are finer than an hour.
FACTS_MS = 2 * HOUR_MS


@dataclass(frozen=True, slots=True)
class CallCount:
    """So many calls of a tool that ended alike, in about the same time."""

    tool: str
    outcome: str
    bucket: int
    calls: int
    total_ms: int


def counted(calls: Iterable[tuple[str, str, float]]) -> list[CallCount]:
    """Single calls (tool, outcome, seconds) as counts."""
    numbers: Counter[tuple[str, str, int]] = Counter()
    times: Counter[tuple[str, str, int]] = Counter()
    for tool, outcome, seconds in calls:
        milliseconds = round(seconds * 1000)
        key = tool, outcome, bucket_of(milliseconds)
        numbers[key] += 1
        times[key] += milliseconds
    return [CallCount(*key, number, times[key]) for key, number in sorted(numbers.items())]


def add(connection: Connection, counts: Sequence[CallCount], at_ms: int) -> None:
    """Writes facts, all in one statement."""
    values: dict[str, Any] = {"at": at_ms}
    rows = []
    for index, count in enumerate(counts):
        names = [f"{name}{index}" for name in ("tool", "outcome", "bucket", "calls", "ms")]
        row = (count.tool, count.outcome, count.bucket, count.calls, count.total_ms)
        values.update(zip(names, row, strict=True))
        rows.append(f"(:at, {', '.join(f':{name}' for name in names)})")
    connection.execute(
        "INSERT INTO tool_calls (at, tool, outcome, bucket, calls, total_ms)"  # noqa: S608  # nosec B608  # names of ours
        f" VALUES {', '.join(rows)}",
        values,
    )


def since(connection: Connection, at_ms: int) -> list[CallCount]:
    """What was called from that moment on: facts, and sums of the hours that begin then."""
    return [CallCount(*row) for row in connection.execute(_SINCE, {"since": at_ms}).fetchall()]


def sum_up(connection: Connection, before_ms: int, most: int) -> int:
    """Turns some facts from before then into sums; gives their number."""
    gone = connection.execute(_TAKE, {"before": before_ms, "most": most}).fetchall()
    calls: Counter[tuple[Any, ...]] = Counter()
    times: Counter[tuple[Any, ...]] = Counter()
    for at, tool, outcome, bucket, number, total_ms in gone:
        key = at - at % HOUR_MS, tool, outcome, bucket
        calls[key] += number
        times[key] += total_ms
    # In one order everywhere, so that two who do it at once wait for each other only.
    for key in sorted(calls):
        connection.execute(_ADD, {**_named(key), "calls": calls[key], "ms": times[key]})
    return len(gone)


def prune(connection: Connection, before_ms: int, most: int) -> int:
    """Drops some sums of hours before then; gives their number."""
    return connection.execute(_OLD, {"before": before_ms, "most": most}).rowcount


def _named(key: tuple[Any, ...]) -> Mapping[str, Any]:
    return dict(zip(("at", "tool", "outcome", "bucket"), key, strict=True))


_SINCE = """
    SELECT tool, outcome, bucket, CAST(SUM(calls) AS BIGINT), CAST(SUM(total_ms) AS BIGINT)
    FROM (
        SELECT tool, outcome, bucket, calls, total_ms FROM tool_calls WHERE at >= :since
        UNION ALL
        SELECT tool, outcome, bucket, calls, total_ms FROM tool_sums WHERE at >= :since
    ) AS counted
    GROUP BY tool, outcome, bucket
"""

_TAKE = """
    DELETE FROM tool_calls WHERE id IN (
        SELECT id FROM tool_calls WHERE at < :before ORDER BY id LIMIT :most
    )
    RETURNING at, tool, outcome, bucket, calls, total_ms
"""

_ADD = """
    INSERT INTO tool_sums (at, tool, outcome, bucket, calls, total_ms)
    VALUES (:at, :tool, :outcome, :bucket, :calls, :ms)
    ON CONFLICT (at, tool, outcome, bucket) DO UPDATE SET
        calls = tool_sums.calls + excluded.calls, total_ms = tool_sums.total_ms + excluded.total_ms
"""

_OLD = """
    DELETE FROM tool_sums WHERE (at, tool, outcome, bucket) IN (
        SELECT at, tool, outcome, bucket FROM tool_sums WHERE at < :before LIMIT :most
    )
"""
