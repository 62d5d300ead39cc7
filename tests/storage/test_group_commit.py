"""Tests of the queue of units of work, without a database."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from webapp.errors import StorageUnavailable
from webapp.storage.group_commit import MAX_BATCH, GroupCommit, Unit


class Recorder:
    """Runs batches as a database would and remembers their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.fails: BaseException | None = None
        self.commits = GroupCommit(self.run)

    def run(self, batch: list[Unit]) -> None:
        self.sizes.append(len(batch))
        if self.fails is not None:
            raise self.fails
        for unit in batch:
            try:
                unit.result = unit.work(None)
            except ValueError as error:
                unit.error = error


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


def noted(order: list[int], name: int, _: Any) -> int:
    """A unit's work: notes its turn."""
    order.append(name)
    return name * 10


class Crowd:
    """Threads that submit units while an earlier unit holds the queue up."""

    def __init__(self, commits: GroupCommit) -> None:
        self.commits = commits
        self.outcomes: dict[Any, Any] = {}
        self._held = threading.Event()
        self._hold = threading.Event()
        self._threads = [threading.Thread(target=self._submit, args=("holder", self._block))]
        self._threads[0].start()
        assert self._held.wait(10)

    def _block(self, _: Any) -> str:
        self._held.set()
        assert self._hold.wait(10)
        return "held"

    def _submit(self, name: Any, work: Callable[[Any], Any]) -> None:
        try:
            self.outcomes[name] = self.commits.submit(work)
        except BaseException as error:  # noqa: BLE001 - the test looks at whatever it is
            self.outcomes[name] = error

    def join(self, name: Any, work: Callable[[Any], Any]) -> None:
        """One more thread whose unit waits behind those before it."""
        waiting = len(self.commits._waiting)
        thread = threading.Thread(target=self._submit, args=(name, work))
        self._threads.append(thread)
        thread.start()
        eventually(lambda: len(self.commits._waiting) == waiting + 1)

    def go(self) -> None:
        self._hold.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_lone_unit_gets_its_result() -> None:
    recorder = Recorder()
    assert recorder.commits.submit(lambda _: 8) == 8
    assert recorder.commits.submit(lambda _: 9) == 9
    assert recorder.sizes == [1, 1]


def test_those_that_wait_share_the_next_commit_in_order() -> None:
    recorder = Recorder()
    crowd = Crowd(recorder.commits)
    order: list[int] = []
    for index in range(5):
        crowd.join(index, partial(noted, order, index))
    crowd.go()
    assert recorder.sizes == [1, 5]
    assert order == [0, 1, 2, 3, 4]
    assert crowd.outcomes == {"holder": "held", 0: 0, 1: 10, 2: 20, 3: 30, 4: 40}


def test_a_batch_has_a_largest_size() -> None:
    recorder = Recorder()
    crowd = Crowd(recorder.commits)
    for index in range(MAX_BATCH + 3):
        crowd.join(index, lambda _: None)
    crowd.go()
    assert recorder.sizes == [1, MAX_BATCH, 3]


def test_an_error_is_its_own_units_alone() -> None:
    recorder = Recorder()
    crowd = Crowd(recorder.commits)

    def fail(_: Any) -> None:
        raise ValueError("no")

    crowd.join("good", lambda _: "stored")
    crowd.join("bad", fail)
    crowd.join("also good", lambda _: "stored too")
    crowd.go()
    assert crowd.outcomes["good"] == "stored"
    assert isinstance(crowd.outcomes["bad"], ValueError)
    assert crowd.outcomes["also good"] == "stored too"


def test_when_the_leader_is_ended_nobody_is_told_that_it_is_stored() -> None:
    recorder = Recorder()
    crowd = Crowd(recorder.commits)
    crowd.join("leader", lambda _: "stored")
    crowd.join("follower", lambda _: "stored")
    recorder.fails = KeyboardInterrupt()
    crowd.go()
    assert isinstance(crowd.outcomes["leader"], KeyboardInterrupt)
    assert isinstance(crowd.outcomes["follower"], StorageUnavailable)
    recorder.fails = None
    assert recorder.commits.submit(lambda _: "afterwards") == "afterwards"


def test_a_unit_cannot_wait_for_another_one() -> None:
    recorder = Recorder()

    def nested(_: Any) -> None:
        with pytest.raises(RuntimeError, match="cannot wait"):
            recorder.commits.submit(lambda _: None)

    recorder.commits.submit(nested)
    assert recorder.sizes == [1]


def test_many_threads_all_get_their_own_result() -> None:
    recorder = Recorder()
    wrong: list[int] = []

    def talk(name: int) -> None:
        for index in range(50):
            expected = name * 1000 + index
            if recorder.commits.submit(partial(noted, [], expected)) != expected * 10:
                wrong.append(expected)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert wrong == []
    assert sum(recorder.sizes) == 16 * 50


# The server's worker is gevent's, where a greenlet can be ended while it waits: here one that
# follows, one that leads, and one that was to lead next.
KILLED_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent
from webapp.storage.group_commit import GroupCommit

def run(batch):
    gevent.sleep(0.01)
    for unit in batch:
        unit.result = unit.work(None)

for victims in ([0], [1], [2], [1, 2], [0, 1, 2, 3], [4]):
    commits = GroupCommit(run)
    stored = []
    crowd = [gevent.spawn(commits.submit, lambda _, i=i: stored.append(i)) for i in range(5)]
    for pause in (0, 0, 0.005):
        gevent.sleep(pause)
        for victim in victims:
            crowd[victim].kill(block=False)
    for index, greenlet in enumerate(crowd):
        greenlet.join(timeout=5)
        assert greenlet.ready(), (victims, index)
        assert index in victims or index in stored or greenlet.exception, (victims, index)
    with gevent.Timeout(5):
        assert commits.submit(lambda _: 'afterwards') == 'afterwards'
print('well')
"""


def test_greenlets_that_are_ended_while_they_wait_do_not_stop_the_queue() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_GREENLETS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "well\n", done.stderr
