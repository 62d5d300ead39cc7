"""Workers count in one memory: a death loses nothing, a successor adds nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from tests.fakes import until
from webapp import worker_figures
from webapp.worker_figures import Key, WorkerFigures

ONE: dict[Key, float] = {("answers", "GET", "/"): 1}


def in_another_process(work: Callable[[], None]) -> int:
    """Runs it there, and gives the number of the process, which stays until it is killed."""
    done, wakes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(wakes, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(done, 1)
    os.close(done)
    os.close(wakes)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def test_all_processes_count_together_and_the_dead_still_count() -> None:
    figures = WorkerFigures()

    def work(part: int) -> Callable[[], None]:
        def count() -> None:
            own = figures.own(part, os.getpid())
            own.gauge(("running",), part + 1)
            for _ in range(1000):
                own.count(ONE)
            own.count({("only", str(part)): 2.5})

        return count

    pids = [in_another_process(work(part)) for part in range(3)]
    assert figures.sums() == {
        ("answers", "GET", "/"): 3000,
        ("only", "0"): 2.5,
        ("only", "1"): 2.5,
        ("only", "2"): 2.5,
    }
    assert [worker.pid for worker in figures.living()] == pids
    assert [worker.gauges[("running",)] for worker in figures.living()] == [1, 2, 3]
    kill(pids[1])
    figures.release(1)
    assert [worker.pid for worker in figures.living()] == [pids[0], pids[2]]
    assert figures.part_beside({0, 2}) == 1
    successor = in_another_process(work(1))
    assert figures.sums() == {
        ("answers", "GET", "/"): 4000,
        ("only", "0"): 2.5,
        ("only", "1"): 5,
        ("only", "2"): 2.5,
    }
    assert figures.starts == 4
    for pid in (pids[0], pids[2], successor):
        kill(pid)


def test_gauges_are_gone_with_their_worker() -> None:
    figures = WorkerFigures(1)
    figures.own(0, 7).gauge(("running",), 5)
    figures.release(0)
    figures.own(0, 8)
    assert figures.living()[0].gauges == {("running",): 0}
    assert figures.sums() == {}


def test_counting_loses_nothing_over_threads() -> None:
    own = WorkerFigures(1).own(0, 1)

    def count() -> None:
        for _ in range(2000):
            own.count(ONE)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own.all.sums() == {("answers", "GET", "/"): 16_000}


def test_a_part_that_is_full_takes_no_more_names_and_goes_on_counting() -> None:
    figures = WorkerFigures(2)
    own = figures.own(0, 1)
    own.count(ONE)
    for number in range(30_000):
        own.count({("name", "ü" * 20, str(number)): 1})
    own.count(ONE)
    figures.own(1, 2).count(ONE)
    sums = figures.sums()
    assert sums[("answers", "GET", "/")] == 3
    assert 5_000 < len(sums) < 20_000


def test_a_total_of_somebody_else_is_counted_once_and_goes_on_behind_a_death() -> None:
    figures = WorkerFigures(1)
    own = figures.own(0, 1)
    for total in (0, 3, 3, 5):
        own.count_up_to(("failures",), total)
    figures.own(0, 2).count_up_to(("failures",), 4)
    assert figures.sums() == {("failures",): 9}


def test_one_that_was_not_seen_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_figures, "STILL_SECONDS", 0.05)
    figures = WorkerFigures(1)
    own = figures.own(0, 1)
    until(lambda: figures.living()[0].still)
    own.seen()
    assert not figures.living()[0].still
