"""What goes wrong on each day. A day is given the house while the crowd talks."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.bad_days.house import House, fill

Break = Callable[[House], None]
CALM_SECONDS = 2.0
LEASE_SECONDS = 22.0  # longer than a worker's lease


@dataclass(frozen=True, slots=True)
class Day:
    """One bad day: what it breaks, on which engines, and what it needs."""

    breaks: Break
    engines: tuple[str, ...] = ("sqlite", "postgres")
    servers: int = 1
    disk_mib: int | None = None
    settings: dict[str, str] = field(default_factory=dict)


def kill_worker(house: House) -> None:
    for _ in range(3):
        os.kill(house.workers()[0], signal.SIGKILL)
        time.sleep(CALM_SECONDS)


def kill_first(house: House) -> None:
    """kill -9 of gunicorn's first process: its workers end by themselves; then a new start."""
    server = house.server
    workers = house.workers()
    os.kill(server.pid, signal.SIGKILL)
    assert server.process is not None
    server.process.wait()
    deadline = time.monotonic() + 60
    while any(_is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    house.counted["workers left"] = sum(map(_is_running, workers))
    server.launch_serve("--workers", "2")
    house.wait_until_well()


def stopped_worker(house: House) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT."""
    worker = house.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS)
    if _is_running(worker):
        os.kill(worker, signal.SIGCONT)
    time.sleep(CALM_SECONDS)


def terminate(house: House) -> None:
    """SIGTERM with turns under way, and a new start."""
    server = house.server
    house.counted["status"] = server.end(timeout=90)
    server.launch_serve("--workers", "2")
    house.wait_until_well()


def full_disk(house: House) -> None:
    if house.postgres is not None:
        with house.postgres.disk_full():
            time.sleep(2 * CALM_SECONDS)
        return
    filler = fill(house.server.folder)
    time.sleep(2 * CALM_SECONDS)
    filler.unlink()


def read_only(house: House) -> None:
    assert house.postgres is not None
    with house.postgres.read_only():
        time.sleep(2 * CALM_SECONDS)


def ill(kind: str) -> Break:
    def breaks(house: House) -> None:
        house.witness.illness = kind
        time.sleep(10)
        house.witness.illness = ""
        time.sleep(CALM_SECONDS)

    return breaks


def kill_postgres(house: House) -> None:
    assert house.postgres is not None
    house.postgres.kill()
    time.sleep(CALM_SECONDS)
    house.postgres.start()


def restart_postgres(house: House) -> None:
    assert house.postgres is not None
    house.postgres.restart()


def fail_over(house: House) -> None:
    """Connections are refused for ten seconds."""
    assert house.postgres is not None
    house.postgres.stop()
    time.sleep(10)
    house.postgres.start()


def still_postgres(house: House) -> None:
    """As cut off: connections stay open, nothing comes back."""
    assert house.postgres is not None
    with house.postgres.standing_still():
        time.sleep(12)


def kill_servers(house: House) -> None:
    """Each of two servers in turn, with all that belongs to it."""
    for server in house.servers:
        server.kill_group()
        time.sleep(CALM_SECONDS)
        server.launch_serve("--workers", "2")
        house.wait_until_well()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


HASTY = {"MODEL_TIMEOUT": "3s", "TURN_TIMEOUT": "10s"}
DAYS: dict[str, Day] = {
    "kill-worker": Day(kill_worker),
    "kill-first": Day(kill_first),
    "stopped-worker": Day(stopped_worker),
    "terminate": Day(terminate),
    "full-disk": Day(full_disk, disk_mib=96),
    "read-only": Day(read_only, engines=("postgres",)),
    "upstream-errors": Day(ill("errors"), settings=HASTY),
    "upstream-hangs": Day(ill("hangs"), settings=HASTY),
    "upstream-drips": Day(ill("drips"), settings=HASTY),
    "kill-servers": Day(kill_servers, servers=2),
    "kill-postgres": Day(kill_postgres, engines=("postgres",)),
    "restart-postgres": Day(restart_postgres, engines=("postgres",)),
    "fail-over": Day(fail_over, engines=("postgres",)),
    "cut-off": Day(still_postgres, engines=("postgres",)),
}
