"""Starting servers to measure and reading what their trees of processes use, from /proc.

Linux only. What a server is and how it is asked is not known here.
"""

import http.client
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ENOUGH = 12_000  # where the kernel's own ports begin lower, it is asked for one of them


class ServerFailed(RuntimeError):
    """A server that was to be measured did not start."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes has used: CPU in seconds since its start, memory in bytes now.

    Pages shared between the processes count once in `pss` and once a process in `rss`.
    """

    cpu: float = 0.0
    rss: int = 0
    pss: int = 0
    processes: int = 0


def usage(root: int) -> Usage:
    """Return what process `root` and all its descendants use."""
    cpu, rss, pss, processes = 0.0, 0, 0, 0
    for pid in tree(root):
        try:
            fields = _stat(pid)
            resident = int(fields[21]) * _PAGE
            # Own time, and that of children that have ended and been waited for.
            cpu += sum(int(ticks) for ticks in fields[11:15]) / _TICKS
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss += resident
        pss += _pss(pid, resident)
        processes += 1
    return Usage(cpu, rss, pss, processes)


def machine_cpu() -> float:
    """Return the seconds of CPU that everything on the machine has used since it started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, soft, steal = (int(field) for field in fields)
    return (user + nice + system + irq + soft + steal) / _TICKS


def tree(root: int) -> list[int]:
    """Return `root` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _stat(pid: int) -> list[str]:
    # The name, in brackets, may hold spaces: the fields are counted from after it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pss(pid: int, otherwise: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return otherwise
    for line in lines:
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return otherwise


def commit_cost(folder: Path, commits: int = 100) -> list[float]:
    """Return how long durable SQLite commits in `folder` take here and now, in seconds.

    No server that keeps what it stores can answer faster than this, one turn at a time.
    """
    connection = sqlite3.connect(folder / "commit-cost.db", isolation_level=None)
    taken: list[float] = []
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE kept (text)")
        for _ in range(commits):
            started = time.perf_counter()
            connection.execute("INSERT INTO kept VALUES (?)", ("x" * 500,))
            taken.append(time.perf_counter() - started)
    finally:
        connection.close()
    return taken


def free_port() -> int:
    """Return a port of loopback that nothing uses now.

    It lies below those that the kernel gives to connections: one of these could be taken, by
    anybody's connection, before the server that is told the port listens on it, or while a test
    has that server down. Not of the generator that tests seed: two processes would get the same.
    """
    lowest = int(_LOCAL_PORTS.read_text().split()[0])
    while True:
        port = 10_000 + secrets.randbelow(lowest - 10_000) if lowest > _ENOUGH else 0
        with socket.socket() as probe:
            # As the servers do it: a closed connection that is still waited for is no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])


class Server:
    """A server in a process of its own, with its output in a file; a context manager."""

    __slots__ = ("_log", "_process", "ready_seconds")

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> None:
        self._log = log
        self.ready_seconds = 0.0
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process at the root of the server's tree."""
        return self._process.pid

    def output(self) -> str:
        """Return what the server has printed."""
        return self._log.read_text(errors="replace")

    def wait_ready(self, port: int, path: str, seconds: float = 60.0) -> None:
        """Return once `GET path` gives 200; ServerFailed with the server's last words if never."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if self._process.poll() is not None:
                break
            if _answers(port, path):
                self.ready_seconds = time.monotonic() - started
                return
            time.sleep(0.05)
        self.stop()
        raise ServerFailed(f"the server did not start:\n{self.output()[-3000:]}")

    def stop(self) -> None:
        """End the server and all that it started."""
        for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                break
            try:
                self._process.send_signal(number)
                self._process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
