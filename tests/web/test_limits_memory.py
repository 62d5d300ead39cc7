"""The limiter's counters in memory: exact under threads, and gone when their windows end."""

from __future__ import annotations

import threading
import time

import pytest
from limits import parse
from limits.storage import storage_from_string

from webapp.web.limits_memory import MemoryCounters


def test_memory_urls_mean_these_counters() -> None:
    assert isinstance(storage_from_string("memory://"), MemoryCounters)


def test_threads_count_exactly() -> None:
    counters = MemoryCounters()
    threads = [
        threading.Thread(target=lambda: [counters.incr("k", 60) for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.get("k") == 4000
    assert 0 < counters.get_expiry("k") - time.time() <= 60


def test_a_window_that_has_ended_counts_no_longer_and_leaves_no_trace() -> None:
    counters = MemoryCounters()
    for number in range(20):
        counters.incr(f"k{number}", 0)  # ends at once
    counters.incr("last", 0)
    assert counters.get("k0") == 0
    for _ in range(20):
        counters.incr("last", 0)
    assert len(counters._counters) <= 2
    assert counters.reset() is not None
    assert counters.get("last") == 0


@pytest.mark.parametrize("jump", [-3600.0, -86_400.0, 86_400.0])
def test_a_wall_clock_that_is_set_neither_ends_nor_prolongs_a_window(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    counters = MemoryCounters()
    counters.incr("k", 60)
    real = time.time
    monkeypatch.setattr("webapp.web.limits_memory.time.time", lambda: real() + jump)
    assert counters.incr("k", 60) == 2
    assert 0 < counters.get_expiry("k") - (real() + jump) <= 60


def test_one_step_counts_all_limits_or_none_behind_the_full_one() -> None:
    counters = MemoryCounters()
    minute, day = parse("2/minute"), parse("3/day")

    assert counters.take((minute, day), "turns", "alice")[:2] == (-1, 1)
    assert counters.take((minute, day), "turns", "alice")[:2] == (-1, 2)
    number, hits, left = counters.take((minute, day), "turns", "alice")
    assert (number, hits) == (0, 2)
    assert 0 < left <= 60
    assert counters.get(day.key_for("turns", "alice")) == 2
    assert counters.take((day,), "turns", "alice")[:2] == (-1, 3)
    assert counters.take((day,), "turns", "alice")[:2] == (0, 3)
    assert counters.take((minute, day), "turns", "bob")[:2] == (-1, 1)
