"""One command that measures Switchboard, agno and bare Flask on the same work, in turn.

`python -m benchmarks.compare` starts the upstream stub and, row by row and round by round, one
server at a time on a fresh database; it prints a table. What the rows are stands in `ROWS`, what
they should reach in `benchmarks.report`.
"""

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.figures import Figures, latency_of
from benchmarks.load import Load, describe, name_users, run_load
from benchmarks.long_memory import Growth, measure_growth
from benchmarks.peers import (
    Agno,
    BareFlask,
    Peer,
    Setting,
    Switchboard,
    SwitchboardOnPostgres,
    SwitchboardServing,
)
from benchmarks.processes import ServerFailed, commit_cost, usage
from benchmarks.report import Measured, Row, markdown
from benchmarks.targets import UpstreamTarget

ALL_HISTORY = 50
GROWTH = "history"  # the row that compares tenants, not servers
Named = TypeVar("Named")
PEERS: tuple[Peer, ...] = (
    Switchboard(),
    SwitchboardOnPostgres(),
    SwitchboardServing(),
    SwitchboardServing("serve-2", workers=2),
    Agno(),
    BareFlask("gevent"),
    BareFlask("gthread"),
)

ROWS: tuple[Row, ...] = (
    Row("c16", "16 at once, upstream 0 ms, 1000 users", 16, 1000),
    Row("full", "16 at once, every memory full: 100 messages sent", 16, 100, filled_turns=50),
    Row("wait256", "256 at once, upstream 500 ms", 256, 4096, delay_ms=500),
    Row("wait1000", "1000 at once, upstream 500 ms", 1000, 8192, delay_ms=500),
    Row("c1", "1 at a time, upstream 0 ms, 1000 users", 1, 1000),
    Row("c64", "64 at once, upstream 0 ms, 1000 users", 64, 1000),
    Row("stream", "16 at once, streamed, upstream 0 ms, 1000 users", 16, 1000, stream=True),
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The running stub."""

    host: str

    def base_url(self, delay_ms: int) -> str:
        """Return the base URL under which answers take so long."""
        return f"http://{self.host}/delay/{delay_ms}/v1"

    def stats(self) -> dict[str, int]:
        """Return what the stub has been asked so far."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request("GET", "/stats")
            figures: dict[str, int] = json.loads(connection.getresponse().read())
            return figures
        finally:
            connection.close()


@contextmanager
def upstream_stub() -> Iterator[Upstream]:
    """Run the stub in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.upstream"]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise ServerFailed("the upstream stub did not start")
            yield Upstream(url.removeprefix("http://").removesuffix("/v1"))
        finally:
            process.terminate()


def measure(peer: Peer, row: Row, upstream: Upstream, seconds: float, warmup: float) -> Measured:
    """Start the peer on a fresh database, fill it, put the row's load on and stop it."""
    setting = Setting(
        upstream.base_url(0),
        row.connections,
        ALL_HISTORY if row.filled_turns else 3,
    )
    late = Setting(upstream.base_url(row.delay_ms), setting.concurrency, setting.history_turns)
    users = name_users(row.users)
    with tempfile.TemporaryDirectory(prefix="switchboard-bench-") as folder:
        running = peer.start(late if row.delay_ms else setting, Path(folder))
        with running.server:
            time.sleep(0.5)
            fresh = usage(running.server.pid)
            if row.filled_turns and peer.remembers:
                peer.fill(running, users, row.filled_turns)
            before = upstream.stats()
            figures = run_load(
                peer.target(running, row.stream),
                Load(
                    host="127.0.0.1",
                    port=running.port,
                    connections=row.connections,
                    users=users,
                    seconds=seconds,
                    warmup=max(warmup, 3 * row.delay_ms / 1000),
                    ramp=max(0.25, row.delay_ms / 1000),
                    pid=running.server.pid,
                ),
            )
            after = upstream.stats()
            if figures.errors:
                print(f"{peer.name} said last:\n{running.server.output()[-1500:]}", file=sys.stderr)
            asked = after["turns"] - before["turns"]
            sent = (after["messages"] - before["messages"]) / asked if asked else 0.0
            return Measured(peer.name, row, figures, fresh, running.server.ready_seconds, sent)


def check_ceiling(upstream: Upstream, seconds: float) -> Figures:
    """Load the stub directly: neither it nor the generator may be what limits a row."""
    port = int(upstream.host.rpartition(":")[2])
    load = Load("127.0.0.1", port, 16, name_users(1000), seconds, warmup=0.3)
    return run_load(UpstreamTarget(upstream.host), load)


def disk_sentence() -> str:
    """Say what a durable commit costs on this disk at this moment."""
    with tempfile.TemporaryDirectory(prefix="switchboard-bench-") as folder:
        cost = latency_of(commit_cost(Path(folder)))
    return f"a durable SQLite commit takes {cost.p50:.2f} ms (p95 {cost.p95:.2f})"


def rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    """Return the peers beginning with another in each round, so that drift strikes all alike."""
    at = by % len(peers)
    return [*peers[at:], *peers[:at]]


def middle(measured: Sequence[Measured]) -> Measured:
    """Return the measurement with the median rate."""
    rate = statistics.median_low([one.figures.rate for one in measured])
    return next(one for one in measured if one.figures.rate == rate)


def compare(
    peers: Sequence[Peer], rows: Sequence[Row], rounds: int, seconds: float, warmup: float
) -> list[Measured]:
    """Measure every row on every peer and return the median of the rounds of each."""
    results: list[Measured] = []
    with upstream_stub() as upstream:
        ceiling = check_ceiling(upstream, min(2.0, seconds))
        print("generator against the stub alone:\n" + describe(ceiling) + "\n", flush=True)
        for row in rows:
            able = [peer for peer in peers if peer.remembers or not row.needs_memory]
            found: dict[str, list[Measured]] = {peer.name: [] for peer in able}
            for number in range(rounds):
                for peer in rotated(able, number):
                    one = measure(peer, row, upstream, seconds, warmup)
                    found[peer.name].append(one)
                    print(one.line(), flush=True)
            results += [middle(found[peer.name]) for peer in able]
    return results


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    names = [*(row.name for row in ROWS), GROWTH]
    parser.add_argument("--rows", default=",".join(names), help="of: " + ", ".join(names))
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement")
    parser.add_argument("--warmup", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--output", type=Path, help="write the table to this Markdown file too")
    options = parser.parse_args()
    peers = _chosen(parser, "peer", options.peers, {peer.name: peer for peer in PEERS})
    known: dict[str, Row | None] = {**{row.name: row for row in ROWS}, GROWTH: None}
    asked = _chosen(parser, "row", options.rows, known)
    rows = [row for row in asked if row is not None]
    growths: list[Growth] = []
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    machine += f"; before: {disk_sentence()}"
    try:
        results = compare(peers, rows, options.rounds, options.seconds, options.warmup)
        if len(rows) < len(asked):
            with upstream_stub() as upstream:
                growths = measure_growth(upstream.base_url(0))
    except ServerFailed as error:
        sys.exit(str(error))
    command = " ".join(["python -m benchmarks.compare", *sys.argv[1:]])
    machine += f"; after: {disk_sentence()}"
    table = markdown(results, growths, command, machine)
    print("\n" + table)
    if options.output:
        options.output.write_text(table)


def _chosen(
    parser: argparse.ArgumentParser, kind: str, asked: str, known: Mapping[str, Named]
) -> list[Named]:
    chosen = []
    for name in filter(None, (part.strip() for part in asked.split(","))):
        if name not in known:
            parser.error(f"there is no {kind} {name!r}; there are {', '.join(known)}")
        chosen.append(known[name])
    return chosen


if __name__ == "__main__":
    main()
