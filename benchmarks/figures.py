"""The figures of one measurement, and nothing of how they came about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles by nearest rank, in milliseconds; all 0 where nothing was measured."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0

    def __str__(self) -> str:
        """Return the percentiles for a person."""
        return (
            f"p50 {self.p50:.2f}, p95 {self.p95:.2f}, p99 {self.p99:.2f}, max {self.longest:.2f} ms"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement of one server.

    `turns` counts the checked answers that came within `seconds`; `errors` every other end of
    a request in that time, by kind. CPU is in seconds, memory in bytes, over the server's whole
    tree of processes; 0 where no process was watched. `others_cpu` is what the machine was busy
    with meanwhile that has no part in the measurement: where it is not small, rates are too low.
    """

    turns: int
    seconds: float
    errors: dict[str, int] = field(default_factory=dict)
    latency: Latency = Latency()
    first_piece: Latency = Latency()
    generator_cpu: float = 0.0
    server_cpu: float = 0.0
    others_cpu: float = 0.0
    rss_before: int = 0
    rss_after: int = 0
    pss_before: int = 0
    pss_after: int = 0

    @property
    def rate(self) -> float:
        """Turns a second."""
        return self.turns / self.seconds if self.seconds else 0.0

    @property
    def others(self) -> float:
        """How many cores were busy with something else."""
        return self.others_cpu / self.seconds if self.seconds else 0.0

    @property
    def cpu_ms_per_turn(self) -> float:
        """Milliseconds of the server's CPU that one turn took, errors counted as turns."""
        ends = self.turns + sum(self.errors.values())
        return self.server_cpu * 1000 / ends if ends else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of values in ascending order; 0 of none."""
    if not ordered:
        return 0.0
    rank = math.ceil(share * len(ordered))
    return ordered[min(len(ordered), max(1, rank)) - 1]


def latency_of(seconds: Sequence[float]) -> Latency:
    """Return the percentiles of durations given in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return Latency()
    return Latency(
        percentile(ordered, 0.50) * 1000,
        percentile(ordered, 0.95) * 1000,
        percentile(ordered, 0.99) * 1000,
        ordered[-1] * 1000,
    )
