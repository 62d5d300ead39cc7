"""The table of a comparison and the lines that Switchboard has set itself to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figures
from benchmarks.long_memory import Growth, growth_table
from benchmarks.processes import Usage

OURS = "switchboard"
MEBIBYTE = 2**20
COLUMNS = (
    "work",
    "server",
    "turns/s",
    "ours is",
    "CPU ms a turn",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "MiB at start",
    "MiB after",
    "messages sent",
    "others' cores",
    "errors",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work: so many turns at once, spread over so many users."""

    name: str
    title: str
    connections: int
    users: int
    delay_ms: int = 0
    filled_turns: int = 0
    stream: bool = False

    @property
    def needs_memory(self) -> bool:
        """Whether a server that remembers nothing cannot do this work; bare ones do not stream."""
        return self.filled_turns > 0 or self.stream

    @property
    def ideal(self) -> float:
        """Turns a second that a slow upstream allows; 0 where it is not slow."""
        return self.connections * 1000 / self.delay_ms if self.delay_ms else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One server's figures in one row.

    `fresh` is what it used when it had just started, `sent` how many messages a turn sent to
    the upstream on average.
    """

    peer: str
    row: Row
    figures: Figures
    fresh: Usage
    ready_seconds: float
    sent: float

    def line(self) -> str:
        """Return the figures in one line, for a person who waits."""
        f = self.figures
        errors = ", ".join(f"{kind} × {n}" for kind, n in f.errors.items())
        return (
            f"{self.row.name:9} {self.peer:13} {f.rate:8.1f}/s  "
            f"p50 {f.latency.p50:8.1f}  p95 {f.latency.p95:8.1f}  p99 {f.latency.p99:8.1f} ms  "
            f"cpu {f.cpu_ms_per_turn:6.2f} ms  "
            f"memory {f.pss_after / MEBIBYTE:5.0f} MiB  sent {self.sent:5.1f}  "
            f"others {f.others:.2f} cores  {errors}"
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """A line to reach and what was measured."""

    title: str
    wanted: str
    got: str
    reached: bool


def markdown(
    results: Sequence[Measured], growths: Sequence[Growth], command: str, machine: str
) -> str:
    """Return the whole report."""
    lines = [f"`{command}`", "", machine]
    if results:
        lines += ["", *_table(results)]
    if growths:
        lines += ["", *growth_table(growths)]
    goals = goals_of(results, growths)
    if goals:
        lines += ["", "| line to reach | wanted | measured | |", "|---|---|---|---|"]
        lines += [
            f"| {g.title} | {g.wanted} | {g.got} | {'reached' if g.reached else 'missed'} |"
            for g in goals
        ]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Measured]) -> list[str]:
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "--:|" * (len(COLUMNS) - 3) + "---|",
    ]
    for one in results:
        ours = find(results, one.row.name, OURS)
        ratio = "–"
        if ours is not None and one.peer != OURS and one.figures.rate:
            ratio = f"{ours.figures.rate / one.figures.rate:.2f} ×"
        f = one.figures
        errors = ", ".join(f"{kind} × {n}" for kind, n in f.errors.items()) or "none"
        lines.append(
            f"| {one.row.title} | {one.peer} | {f.rate:,.0f} | {ratio} | {f.cpu_ms_per_turn:.2f} "
            f"| {f.latency.p50:,.1f} | {f.latency.p95:,.1f} | {f.latency.p99:,.1f} "
            f"| {one.fresh.pss / MEBIBYTE:.0f} | {f.pss_after / MEBIBYTE:.0f} "
            f"| {one.sent:.1f} | {f.others:.2f} | {errors} |"
        )
    return lines


def find(results: Sequence[Measured], row: str, peer: str) -> Measured | None:
    """Return one server's measurement in one row, if it was made."""
    return next((one for one in results if one.row.name == row and one.peer == peer), None)


def goals_of(results: Sequence[Measured], growths: Sequence[Growth] = ()) -> list[Goal]:
    """Return every line to reach for which there are figures."""
    goals: list[Goal] = []
    for row, peer, factor in (
        ("c16", "agno", 8.0),
        ("c16", "bare-gevent", 0.28),
        ("full", "agno", 12.0),
    ):
        ours, other = find(results, row, OURS), find(results, row, peer)
        if ours is not None and other is not None and other.figures.rate:
            ratio = ours.figures.rate / other.figures.rate
            goals.append(
                Goal(
                    f"turns/s against {peer}, {ours.row.title}",
                    f"≥ {factor:g} ×",
                    f"{ratio:.2f} ×",
                    ratio >= factor,
                )
            )
    waiting = find(results, "wait256", OURS)
    if waiting is not None:
        share = waiting.figures.rate / waiting.row.ideal
        title = f"{waiting.row.title}, of the ideal {waiting.row.ideal:.0f}/s"
        got = f"{share:.0%}"
        bare = find(results, "wait256", "bare-gevent")
        if bare is not None:
            # On a slow core even what only passes on falls short of the ideal.
            got += f", bare-gevent {bare.figures.rate / bare.row.ideal:.0%}"
        goals.append(Goal(title, "≥ 90 %", got, share >= 0.9))
    if growths:
        most = growths[-1]
        title = f"a turn with {most.stored:,} stored messages against one with 10"
        goals.append(Goal(title, "≤ 1.2 ×", f"{most.ratio:.2f} ×", most.ratio <= 1.2))
    ours_fresh = [one.fresh.pss / MEBIBYTE for one in results if one.peer == OURS]
    if ours_fresh:
        size = max(ours_fresh)
        goals.append(Goal("memory after start", "≤ 110 MiB", f"{size:.0f} MiB", size <= 110))
    return goals
