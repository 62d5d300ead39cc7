"""One turn of a tenant who has said very much against one of tenants who have said little.

The turns alternate in blocks on one running server, so that both meet the same machine. Filling
the database is in `benchmarks.fill`, the table in `benchmarks.report`.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.fill import fill_with
from benchmarks.load import Load, run_load
from benchmarks.peers import Running, Setting, Switchboard
from benchmarks.story import Story, calm_story

BLOCKS = 7


@dataclass(frozen=True, slots=True)
class Kind:
    """So many tenants with so many stored messages each."""

    stored: int
    tenants: int

    def users(self) -> list[str]:
        """Return their ids."""
        return [f"stored-{self.stored}-{number:05d}" for number in range(self.tenants)]


@dataclass(frozen=True, slots=True)
class Growth:
    """The middle of the blocks of one kind, in milliseconds a turn."""

    stored: int
    p50: float
    p95: float
    cpu_ms: float
    ratio: float


def kinds(turns: int, largest: int) -> list[Kind]:
    """Return the kinds; the small ones are so many that no turn makes one of them grow much."""
    return [Kind(10, turns * BLOCKS), Kind(100, turns * BLOCKS), Kind(largest, 1)]


def measure_growth(upstream: str, turns: int = 200, largest: int = 100_000) -> list[Growth]:
    """Measure `turns` turns of each kind a block, one at a time, on Switchboard."""
    chosen = kinds(turns, largest)
    with tempfile.TemporaryDirectory(prefix="switchboard-bench-") as name:
        folder = Path(name)
        now_ms = time.time_ns() // 1_000_000
        for _ in fill_with(folder / "switchboard.db", _stories(chosen, now_ms), now_ms):
            pass
        running = Switchboard().start(Setting(upstream, 1, keep_all=True), folder)
        with running.server:
            found: dict[int, list[Figures]] = {kind.stored: [] for kind in chosen}
            _block(running, ["warm-up"], turns)
            for block in range(BLOCKS):
                for kind in chosen:
                    users = kind.users()[block * turns : (block + 1) * turns] or kind.users()
                    found[kind.stored].append(_block(running, users, turns))
    least = _middle(found[chosen[0].stored])
    return [_growth(stored, blocks, least) for stored, blocks in found.items()]


def growth_table(growths: Sequence[Growth]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| stored messages of the tenant | p50 ms | p95 ms | CPU ms a turn | against 10 |",
        "|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {g.stored:,} | {g.p50:.2f} | {g.p95:.2f} | {g.cpu_ms:.2f} | {g.ratio:.2f} × |"
        for g in growths
    ]
    return lines


def _stories(chosen: Sequence[Kind], now_ms: int) -> list[Story]:
    named = [(user, kind.stored // 2) for kind in chosen for user in kind.users()]
    return [calm_story(n, user, turns, now_ms) for n, (user, turns) in enumerate(named, 1)]


def _block(running: Running, users: Sequence[str], turns: int) -> Figures:
    target = Switchboard().target(running, stream=False)
    load = Load(
        "127.0.0.1", running.port, 1, users, 120.0, ramp=0.0, turns=turns, pid=running.server.pid
    )
    figures = run_load(target, load)
    if figures.errors:
        raise RuntimeError(f"turns failed: {figures.errors}")
    return figures


def _middle(blocks: Sequence[Figures]) -> float:
    return statistics.median(figures.latency.p50 for figures in blocks)


def _growth(stored: int, blocks: Sequence[Figures], least: float) -> Growth:
    p50 = _middle(blocks)
    p95 = statistics.median(figures.latency.p95 for figures in blocks)
    cpu = sum(figures.server_cpu for figures in blocks) * 1000
    turns = sum(figures.turns for figures in blocks)
    return Growth(stored, p50, p95, cpu / turns if turns else 0.0, p50 / least if least else 0.0)
