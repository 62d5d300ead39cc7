"""A closed-loop load generator: N kept-alive connections, each asks as soon as it is answered.

It checks every answer and does not only count them. What a server is asked is in
`benchmarks.targets`, what came out is `benchmarks.figures.Figures`. Run it alone with
`python -m benchmarks.load URL`.
"""

import argparse
import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.figures import Figures, latency_of
from benchmarks.framing import FramingError, Message, Partial, take_message
from benchmarks.processes import Usage, machine_cpu, tree, usage
from benchmarks.targets import AgnoTarget, ChatTarget, Target, UpstreamTarget

DEFAULT_MESSAGE = "What have I told you so far?"


@dataclass(frozen=True, slots=True)
class Load:
    """What to put on a server.

    Times are in seconds. The connections open evenly over `ramp`, so that a slow upstream's
    answers do not all come in one wave; `turns` ends the measurement after so many, if given.
    """

    host: str
    port: int
    connections: int
    users: Sequence[str]
    seconds: float
    warmup: float = 1.0
    ramp: float = 0.25
    timeout: float = 60.0
    message: str = DEFAULT_MESSAGE
    turns: int | None = None
    pid: int | None = None


@dataclass(slots=True)
class _Run:
    """What the connections of one measurement share."""

    target: Target
    load: Load
    users: Iterator[str]
    done: asyncio.Event
    counting: bool = False
    stopped: bool = False
    asked: int = 0
    turns: int = 0
    latencies: list[float] = field(default_factory=list)
    first_pieces: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def next_request(self) -> bytes | None:
        """Return the next turn's request, or None when there is to be none."""
        if self.stopped:
            return None
        if self.load.turns is not None:
            if self.asked >= self.load.turns:
                return None
            self.asked += 1
        return self.target.request(next(self.users), self.load.message)

    def failed(self, kind: str) -> None:
        """Count a request that did not end in an answer."""
        if self.counting:
            self.errors[kind] += 1
        self._check_end()

    def succeeded(self, started: float, first: float, now: float) -> None:
        """Count a checked answer."""
        if self.counting:
            self.turns += 1
        # Who waited at the end counts among the latencies too: a server that keeps some waiting
        # for ever must not look quick by those that it served.
        if self.counting or self.stopped:
            self.latencies.append(now - started)
            self.first_pieces.append(first - started)
        self._check_end()

    def _check_end(self) -> None:
        turns = self.load.turns
        if turns is not None and self.turns + sum(self.errors.values()) >= turns:
            self.done.set()


class Client(asyncio.Protocol):
    """One connection that asks, checks and asks again; it opens anew when it was closed."""

    __slots__ = ("_first", "_pending", "_run", "_started", "_transport", "waiting")

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._pending = b""
        self._started = 0.0
        self._first = 0.0
        self._transport: asyncio.Transport | None = None
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first question."""
        # uvloop's transports are asyncio's in shape and not by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; when it is whole, check it and ask on."""
        self._pending = self._pending + data if self._pending else data
        self._read(closed=False)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Take what an answer without a length was, count a cut one, and open anew."""
        self._transport = None
        if self.waiting:
            self._read(closed=True)
        if self.waiting:
            self.waiting = False
            self._run.failed("connection closed")
        if not self._run.stopped:
            asyncio.get_running_loop().create_task(connect(self._run, self))

    def expire(self, before: float) -> None:
        """Give up on a request that was sent before `before`."""
        if self.waiting and self._started < before and self._transport is not None:
            self.waiting = False
            self._run.failed("timeout")
            self._transport.abort()

    def close(self) -> None:
        """Close the connection; who waits still has waited at least until now."""
        if self.waiting:
            now = time.perf_counter()
            self.waiting = False
            self._run.succeeded(self._started, now, now)
        if self._transport is not None:
            self._transport.close()

    def _ask(self) -> None:
        request = self._run.next_request()
        if request is None or self._transport is None:
            return
        self.waiting = True
        self._first = 0.0
        self._started = time.perf_counter()
        self._transport.write(request)

    def _read(self, closed: bool) -> None:
        try:
            message = take_message(self._pending, closed=closed, reply=True)
        except FramingError:
            self._end("not HTTP")
            if self._transport is not None:
                self._transport.abort()
            return
        if isinstance(message, Partial):
            if message.body_started and not self._first:
                self._first = time.perf_counter()
            return
        now = time.perf_counter()
        self._pending = message.rest
        self._judge(message, now)
        if b"\r\nconnection: close" in message.head and self._transport is not None:
            self._transport.close()
        elif not closed:
            self._ask()

    def _judge(self, message: Message, now: float) -> None:
        status = message.start[9:12].decode("latin-1")
        if status != "200":
            self._end(f"status {status}")
        elif not self._run.target.answered(message.body):
            self._end("wrong answer")
        else:
            self.waiting = False
            self._run.succeeded(self._started, self._first or now, now)

    def _end(self, kind: str) -> None:
        self.waiting = False
        self._run.failed(kind)


async def connect(run: _Run, client: Client) -> None:
    """Open the client's connection, trying again while the measurement lasts."""
    loop = asyncio.get_running_loop()
    while not run.stopped:
        try:
            await loop.create_connection(lambda: client, run.load.host, run.load.port)
        except OSError:
            run.failed("connection refused")
            await asyncio.sleep(0.05)
        else:
            return


async def drive(target: Target, load: Load) -> Figures:
    """Put the load on and return the figures of the time after the warm-up."""
    run = _Run(target, load, itertools.cycle(load.users), asyncio.Event())
    clients = [Client(run) for _ in range(load.connections)]
    opening = asyncio.create_task(_open_evenly(run, clients))
    if load.turns is None:
        await asyncio.sleep(load.warmup)
    sweeping = asyncio.create_task(_sweep(run, clients))
    before, cpu_before = _usage(load.pid), time.process_time()
    others_before = _others_cpu(load.pid)
    run.counting = True
    started = time.perf_counter()
    try:
        await asyncio.wait_for(run.done.wait(), load.seconds)
    except TimeoutError:
        pass  # The usual end: the time is over.
    seconds = time.perf_counter() - started
    run.counting = False
    run.stopped = True
    after, cpu_after = _usage(load.pid), time.process_time()
    others_after = _others_cpu(load.pid)
    await opening
    sweeping.cancel()
    await _drain(clients, min(load.timeout, 20.0))
    return Figures(
        turns=run.turns,
        seconds=seconds,
        errors=dict(run.errors),
        latency=latency_of(run.latencies),
        first_piece=latency_of(run.first_pieces),
        generator_cpu=cpu_after - cpu_before,
        server_cpu=after.cpu - before.cpu,
        others_cpu=max(0.0, others_after - others_before),
        rss_before=before.rss,
        rss_after=after.rss,
        pss_before=before.pss,
        pss_after=after.pss,
    )


async def _open_evenly(run: _Run, clients: Sequence[Client]) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, client in enumerate(clients):
        due = started + run.load.ramp * number / len(clients)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        await connect(run, client)


async def _sweep(run: _Run, clients: Sequence[Client]) -> None:
    while True:
        await asyncio.sleep(0.5)
        before = time.perf_counter() - run.load.timeout
        for client in clients:
            client.expire(before)


async def _drain(clients: Sequence[Client], patience: float) -> None:
    # Answers that are under way are let in, so that no server is measured with hang-ups.
    deadline = time.perf_counter() + patience
    # An event would cost something at every answer, this only at the end.
    while any(client.waiting for client in clients) and time.perf_counter() < deadline:  # noqa: ASYNC110  # bounded
        await asyncio.sleep(0.01)
    for client in clients:
        client.close()


def _usage(pid: int | None) -> Usage:
    return Usage() if pid is None else usage(pid)


def _others_cpu(pid: int | None) -> float:
    # The comparison starts server and stub itself, so they are in this process's own tree; a
    # server started by hand is not, and its stub then counts among the others.
    own = tree(os.getpid())
    watched = usage(os.getpid()).cpu
    if pid is not None and pid not in own:
        watched += usage(pid).cpu
    return machine_cpu() - watched


def run_load(target: Target, load: Load) -> Figures:
    """Drive the load in a loop of its own."""
    return uvloop.run(drive(target, load))


def name_users(count: int, prefix: str = "user") -> list[str]:
    """Return `count` distinct user ids."""
    return [f"{prefix}-{number:06d}" for number in range(count)]


def describe(figures: Figures) -> str:
    """Return the figures as a few lines of text."""
    errors = ", ".join(f"{kind} × {n}" for kind, n in figures.errors.items()) or "none"
    own = figures.generator_cpu / figures.seconds
    lines = [
        f"{figures.rate:,.0f} turns/s ({figures.turns:,} in {figures.seconds:.2f} s)",
        f"latency: {figures.latency}",
        f"first piece: {figures.first_piece}",
        f"the generator used {own:.0%} of a core, others {figures.others:.2f} cores",
        f"errors: {errors}",
    ]
    if figures.pss_after:
        lines.append(
            f"server: {figures.cpu_ms_per_turn:.2f} ms CPU a turn, memory "
            f"{figures.pss_before / 2**20:.0f} → {figures.pss_after / 2**20:.0f} MiB "
            f"(RSS {figures.rss_after / 2**20:.0f})"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure one server that runs already."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("url", help="for example http://127.0.0.1:8080")
    parser.add_argument("--target", choices=("chat", "agno", "upstream"), default="chat")
    parser.add_argument("--connections", "-c", type=int, default=16)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--ramp", type=float, default=0.25)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--message", default=DEFAULT_MESSAGE)
    parser.add_argument("--pid", type=int, help="the server's process, to read what it uses")
    options = parser.parse_args()
    parts = urlsplit(options.url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    where = f"{host}:{port}"
    targets: dict[str, Target] = {
        "chat": ChatTarget(where, options.stream),
        "agno": AgnoTarget(where, options.stream),
        "upstream": UpstreamTarget(
            where, options.stream, (parts.path.rstrip("/") or "/v1") + "/chat/completions"
        ),
    }
    load = Load(
        host,
        port,
        options.connections,
        name_users(options.users, f"load-{os.getpid()}"),
        options.seconds,
        options.warmup,
        options.ramp,
        options.timeout,
        options.message,
        pid=options.pid,
    )
    print(describe(run_load(targets[options.target], load)))


if __name__ == "__main__":
    main()
