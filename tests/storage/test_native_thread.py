"""Work in native threads beside greenlets: results, errors, ends, counts; under gevent."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGINNING = """
from gevent import monkey
monkey.patch_all()
import gevent, os, threading, time
from webapp.storage.native_thread import NativeThreads

sleep = monkey.get_original("time", "sleep")
ident = monkey.get_original("_thread", "get_ident")
here = ident()
"""

GIVES_RESULTS_AND_ERRORS = """
threads = NativeThreads(1)
assert threads.run(lambda: ident()) != here
assert [threads.run(lambda n=n: n * n) for n in range(100)] == [n * n for n in range(100)]
for run in (threads.run, threads.run_to_its_end):
    try:
        run(lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the error was lost")
assert threads.run_to_its_end(lambda: None) is None
assert threads.run(lambda: 7) == 7
"""

LETS_OTHERS_GO_ON = """
threads = NativeThreads(1)
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)
ticking = gevent.spawn(tick)
threads.run(lambda: sleep(0.3))
ticking.kill()
assert len(ticks) > 5, ticks
"""

AS_MANY_AS_ALLOWED = """
for most in (1, 3):
    threads, now, top = NativeThreads(most), [], []
    def work():
        now.append(1)
        top.append(len(now))
        sleep(0.05)
        now.pop()
        return ident()
    waiting = [gevent.spawn(threads.run, work) for _ in range(9)]
    gevent.joinall(waiting, raise_error=True)
    assert max(top) == most == len({each.value for each in waiting}), (most, top)
"""

GOES_ON_ALONE_WHEN_ITS_CALLER_IS_ENDED = """
threads, done = NativeThreads(1), []
caller = gevent.spawn(threads.run, lambda: (sleep(0.2), done.append(1)))
gevent.sleep(0.05)
began = time.monotonic()
caller.kill()
assert time.monotonic() - began < 0.15 and not done
assert threads.run(lambda: 7) == 7 and done == [1]
"""

IS_WAITED_FOR_WHEN_IT_MUST_NOT_BE_LEFT = """
threads, done, given = NativeThreads(1), [], []
caller = gevent.spawn(
    lambda: given.append(threads.run_to_its_end(lambda: (sleep(0.2), done.append(1))))
)
gevent.sleep(0.05)
caller.kill(block=False)
caller.kill(block=False)
caller.join()
assert done == [1] and isinstance(given[0], gevent.GreenletExit), (done, given)
with gevent.Timeout(0.05, False) as over:
    given.append(threads.run_to_its_end(lambda: sleep(0.2)))
assert given[1] is over, given
"""

KEEPS_THE_LOOP_ONLY_WHILE_SOMETHING_RUNS = """
threads = NativeThreads(1)
assert threads.run(lambda: (sleep(0.05), 7)[1]) == 7  # nothing else keeps the loop from ending
assert gevent.wait(timeout=5) is True  # and now the threads do not
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(GIVES_RESULTS_AND_ERRORS, id="results and errors"),
        pytest.param(LETS_OTHERS_GO_ON, id="others go on"),
        pytest.param(AS_MANY_AS_ALLOWED, id="as many as allowed"),
        pytest.param(GOES_ON_ALONE_WHEN_ITS_CALLER_IS_ENDED, id="goes on alone"),
        pytest.param(IS_WAITED_FOR_WHEN_IT_MUST_NOT_BE_LEFT, id="is waited for"),
        pytest.param(KEEPS_THE_LOOP_ONLY_WHILE_SOMETHING_RUNS, id="the loop may end"),
    ],
)
def test_work_in_native_threads(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BEGINNING + program + "\nprint('held', flush=True)\nos._exit(0)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == "held\n", ran.stderr
