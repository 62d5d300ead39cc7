"""The figures of each tool in a window of time, and the chores of their rows; no SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from webapp.periods import DAY_MS
from webapp.storage import Connection, Database
from webapp.storage.slices import in_slices
from webapp.usage.histogram import percentiles
from webapp.usage.tool_calls import store
from webapp.usage.windows import Window

BATCH = 2000
# It must reach back over the longest window.
KEPT_MS = 35 * DAY_MS


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """One tool's calls; times in milliseconds, None when there was no call."""

    calls: int = 0
    errors: int = 0
    timeouts: int = 0
    p50: int | None = None
    p95: int | None = None


@dataclass(slots=True)
class _Counts:
    outcomes: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)


def tool_figures(connection: Connection, window: Window, now_ms: int) -> dict[str, ToolFigures]:
    """The figures of each tool that was called, by its name."""
    found: defaultdict[str, _Counts] = defaultdict(_Counts)
    for count in store.since(connection, window.since(now_ms)):
        found[count.tool].outcomes[count.outcome] += count.calls
        found[count.tool].buckets[count.bucket] += count.calls
    return {tool: _figures(counts) for tool, counts in found.items()}


def tidy_up(database: Database, now_ms: int) -> None:
    """Sums up facts that are old enough, and drops sums that no window shows."""

    def sum_up(connection: Connection) -> int:
        return store.sum_up(connection, now_ms - store.FACTS_MS, BATCH)

    def prune(connection: Connection) -> int:
        return store.prune(connection, now_ms - KEPT_MS, BATCH)

    for step in (sum_up, prune):
        for _ in in_slices(database, step, bool):
            pass


def _figures(counts: _Counts) -> ToolFigures:
    p50, p95 = percentiles(counts.buckets, (0.5, 0.95))
    calls = counts.outcomes.total()
    return ToolFigures(
        calls=calls,
        errors=calls - counts.outcomes["ok"],
        timeouts=counts.outcomes["timeout"],
        p50=p50,
        p95=p95,
    )
