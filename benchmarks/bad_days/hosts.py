"""What goes wrong between several hosts, and with one worker of one of them."""

import os
import signal
import time
from contextlib import AbstractContextManager

from benchmarks.bad_days.clock import seconds_ahead
from benchmarks.bad_days.house import BACK_SECONDS, House
from tests.server.running import Server

CALM_SECONDS = 2.0
LEASE_SECONDS = 22.0  # longer than a worker's lease
CUT_SECONDS = 15.0


def stop_worker(house: House, server: Server) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT."""
    worker = house.workers(server)[0]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS)
    if is_running(worker):
        os.kill(worker, signal.SIGCONT)
    time.sleep(CALM_SECONDS)


def clock_off(house: House) -> None:
    """The last server's clock is an hour fast all the time; both lose a worker for good, and one
    for longer than its lease."""
    house.counted["seconds ahead"] = [seconds_ahead(server) for server in house.servers]
    for server in house.servers:
        os.kill(house.workers(server)[0], signal.SIGKILL)
        time.sleep(CALM_SECONDS)
    for server in house.servers:
        stop_worker(house, server)


def kill_redis(house: House) -> None:
    """Twice. While it is away turns go on uncounted, and not one that begins when it is back."""
    assert house.redis is not None
    assert house.limited is not None
    tally = house.limited.tally
    for _ in range(2):
        house.redis.kill()
        time.sleep(2 * CALM_SECONDS)
        house.redis.start()
        time.sleep(CALM_SECONDS / 4)  # for what had begun before
        let_through = tally.uncounted
        time.sleep(2 * CALM_SECONDS)
        if tally.uncounted > let_through:
            house.limited.wrong(f"{tally.uncounted - let_through} uncounted with Redis back")


def kill_everything(house: House) -> None:
    """Each of two servers, PostgreSQL and Redis, one after the other, each with kill -9."""
    assert house.postgres is not None
    assert house.redis is not None
    for server in house.servers:
        server.kill_group()
        time.sleep(CALM_SECONDS)
        server.launch_serve("--workers", "2")
        house.wait_until_well()
    house.postgres.kill()
    time.sleep(CALM_SECONDS)
    house.postgres.start()
    house.wait_until_well()
    kill_redis(house)


def partition(house: House) -> None:
    assert house.namespace is not None
    _cut(house, house.namespace.link_down())


def silent_partition(house: House) -> None:
    assert house.namespace is not None
    _cut(house, house.namespace.silent())


def _cut(house: House, without_link: AbstractContextManager[None]) -> None:
    """The last server cannot reach the database, and the first one can."""
    crowd = house.talkers
    assert crowd is not None
    began = time.monotonic()
    with without_link:
        time.sleep(CUT_SECONDS)
        ended = time.monotonic()
    for door, what in enumerate(("the other server", "the server that is cut off")):
        house.counted[f"answers meanwhile by {what}"] = crowd.answered(door, began, ended)
    while not crowd.answered(1, ended, time.monotonic()):
        if time.monotonic() > ended + BACK_SECONDS:
            raise RuntimeError("the server that was cut off answers no more")
        time.sleep(0.01)
    house.counted["first answer of it after the cut"] = f"{time.monotonic() - ended:.1f} s"
    house.wait_until_well()
    house.counted["well after the cut"] = f"{time.monotonic() - ended:.1f} s"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
