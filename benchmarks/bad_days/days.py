"""What goes wrong on each day. A day is given the house while the crowd talks."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.bad_days import hosts
from benchmarks.bad_days.hosts import CALM_SECONDS, is_running
from benchmarks.bad_days.house import House, Plan, fill
from benchmarks.bad_days.immutable import no_writes

Break = Callable[[House], None]


@dataclass(frozen=True, slots=True)
class Day:
    """One bad day: what it breaks, on which engines, and what it needs."""

    breaks: Break
    engines: tuple[str, ...] = ("sqlite", "postgres")
    house: Plan = field(default_factory=Plan)

    def plan(self, engine: str) -> Plan:
        """What the house has on that engine: Redis stands beside PostgreSQL alone."""
        return self.house if engine == "postgres" else replace(self.house, redis=False)


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
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    house.counted["workers left"] = sum(map(is_running, workers))
    server.launch_serve("--workers", "2")
    house.wait_until_well()


def stopped_worker(house: House) -> None:
    hosts.stop_worker(house, house.server)


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
    postgres = house.postgres
    with no_writes(house.server.database) if postgres is None else postgres.read_only():
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


HASTY = Plan(settings={"MODEL_TIMEOUT": "3s", "TURN_TIMEOUT": "10s"})
POSTGRES = ("postgres",)
DAYS: dict[str, Day] = {
    "kill-worker": Day(kill_worker),
    "kill-first": Day(kill_first),
    "stopped-worker": Day(stopped_worker),
    "terminate": Day(terminate),
    "full-disk": Day(full_disk, house=Plan(disk_mib=96)),
    "read-only": Day(read_only),
    "upstream-errors": Day(ill("errors"), house=HASTY),
    "upstream-hangs": Day(ill("hangs"), house=HASTY),
    "upstream-drips": Day(ill("drips"), house=HASTY),
    "kill-servers": Day(kill_servers, house=Plan(servers=2, redis=True)),
    "kill-redis": Day(hosts.kill_redis, POSTGRES, Plan(servers=2, redis=True)),
    "kill-everything": Day(hosts.kill_everything, POSTGRES, Plan(servers=2, redis=True)),
    "clock-off": Day(hosts.clock_off, POSTGRES, Plan(servers=2, redis=True, clock_off=True)),
    "partition": Day(hosts.partition, POSTGRES, Plan(servers=2, apart=True)),
    "silent-partition": Day(hosts.silent_partition, POSTGRES, Plan(servers=2, apart=True)),
    "kill-postgres": Day(kill_postgres, POSTGRES),
    "restart-postgres": Day(restart_postgres, POSTGRES),
    "fail-over": Day(fail_over, POSTGRES),
    "cut-off": Day(still_postgres, POSTGRES),
}
