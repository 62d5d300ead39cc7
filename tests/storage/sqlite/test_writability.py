"""Whether the database takes writes: known without a commit of each who asks, and at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from webapp.errors import StorageUnavailable
from webapp.storage import writability
from webapp.storage.writability import Writability


class Disk:
    """Counts the tries; fails while `fault` is set, and stands still while `stalled` is."""

    def __init__(self) -> None:
        self.tries = 0
        self.fault: StorageUnavailable | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.state = Writability(self.write)

    def write(self) -> None:
        self.tries += 1
        assert self.goes_on.wait(20)
        if self.fault is not None:
            self.state.failed(self.fault)
            raise self.fault
        self.state.came_through()


def full() -> StorageUnavailable:
    return StorageUnavailable("full", part="full")


def refused(act: Callable[[], None]) -> str:
    with pytest.raises(StorageUnavailable) as caught:
        act()
    return caught.value.part


def test_a_write_that_came_through_is_a_proof_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, now = Disk(), 100.0
    monkeypatch.setattr("webapp.storage.writability.time.monotonic", lambda: now)
    disk.state.came_through()
    for _ in range(1000):
        disk.state.require(5)
    assert disk.tries == 0
    now += writability.PROOF_SECONDS
    for _ in range(1000):
        disk.state.require(5)
    assert disk.tries == 1


def test_whoever_asks_first_has_one_write_tried() -> None:
    disk = Disk()
    disk.state.require(5)
    disk.state.require(5)
    assert disk.tries == 1


def test_behind_a_failed_write_each_is_refused_until_one_comes_through() -> None:
    disk = Disk()
    disk.state.came_through()
    disk.fault = full()
    disk.state.failed(full())
    assert {refused(lambda: disk.state.require(5)) for _ in range(10)} == {"full"}
    disk.fault = None
    disk.state.require(5)
    assert not disk.state.suspect


def test_all_who_ask_at_once_share_one_try() -> None:
    disk = Disk()
    disk.goes_on.clear()
    crowd = [threading.Thread(target=disk.state.require, args=(20,)) for _ in range(20)]
    for one in crowd:
        one.start()
    disk.goes_on.set()
    for one in crowd:
        one.join(20)
        assert not one.is_alive()
    assert disk.tries == 1


def test_a_disk_that_stands_still_is_waited_for_once_and_then_refused_at_once() -> None:
    disk = Disk()
    disk.goes_on.clear()
    assert refused(lambda: disk.state.require(0.05)) == "stalled"
    assert refused(lambda: disk.state.require(600)) == "stalled"
    assert disk.tries == 1, "no second write is queued behind the one that hangs"
    disk.goes_on.set()
    disk.state.require(600)


def test_an_act_of_this_process_that_takes_long_is_no_fault() -> None:
    disk = Disk()
    disk.state.long_act(running=True)
    disk.state.require(5)
    assert disk.tries == 0
    disk.state.long_act(running=False)
    disk.state.require(5)
    assert disk.tries == 1
