"""The limiter's counters: exact over threads and processes, on SQLite and on Redis alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from limits import (
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from tests.redis_server import redis_server
from webapp.storage.sqlite.limits import SWEEP_EVERY, SQLiteStorage

LIMIT = 250
TRIES_OF_A_PROCESS = 400
PROCESSES = 2

HITTER = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from limits import RateLimitItemPerDay, RateLimitItemPerHour
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter
import webapp.storage.limits

storage = storage_from_string(sys.argv[1])
strategy = FixedWindowRateLimiter(storage)
item = RateLimitItemPerHour({LIMIT})
larger = RateLimitItemPerDay(10 * {LIMIT})

def hit(_):
    if sys.argv[2:] == ["in one step"]:
        return storage.take((item, larger), "turns", "alice")[0] < 0
    return strategy.hit(item, "turns", "alice")

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(8) as pool:
    tries = range({TRIES_OF_A_PROCESS})
    print(sum(pool.map(hit, tries)))
"""


def let_through(url: str, *how: str) -> int:
    """What `PROCESSES` processes of eight threads let through, begun at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HITTER, url, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[3],
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(int(process.communicate(timeout=60)[0]) for process in processes)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'limits.db'}"


@pytest.fixture
def storage(url: str) -> Iterator[SQLiteStorage]:
    made = storage_from_string(url)
    assert isinstance(made, SQLiteStorage)
    yield made
    made.close()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as server:
        yield server.url


def test_two_processes_of_eight_threads_let_exactly_the_limit_through(url: str) -> None:
    assert let_through(url) == LIMIT


def test_all_limits_of_a_request_are_counted_in_one_step(storage: SQLiteStorage, url: str) -> None:
    assert let_through(url, "in one step") == LIMIT
    assert storage.get(RateLimitItemPerHour(LIMIT).key_for("turns", "alice")) == LIMIT
    # What the first limit refused is not counted in the second.
    assert storage.get(RateLimitItemPerDay(10 * LIMIT).key_for("turns", "alice")) == LIMIT


def test_one_step_tells_which_limit_is_full_and_for_how_long(storage: SQLiteStorage) -> None:
    second, minute, day = (
        RateLimitItemPerSecond(9),
        RateLimitItemPerMinute(2),
        RateLimitItemPerDay(3),
    )
    assert storage.take((second, minute, day), "turns", "alice")[:2] == (-1, 1)
    assert storage.take((second, minute, day), "turns", "alice")[:2] == (-1, 2)
    number, hits, left = storage.take((second, minute, day), "turns", "alice")
    assert (number, hits) == (1, 2)
    assert 50 < left <= 60
    assert storage.get(day.key_for("turns", "alice")) == 2
    assert storage.take((day,), "turns", "alice")[:2] == (-1, 3)
    assert storage.take((day,), "turns", "alice")[:2] == (0, 3)
    assert storage.take((minute, day), "turns", "bob")[:2] == (-1, 1)


@pytest.mark.redis
def test_redis_lets_exactly_the_limit_through_as_well(redis_url: str) -> None:
    assert let_through(redis_url) == LIMIT


def test_threads_over_one_storage_count_each_hit_once(storage: SQLiteStorage) -> None:
    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(lambda _: storage.incr("alice", 3600), range(500)))
    assert sorted(counts) == list(range(1, 501))


def test_keys_are_counted_apart_and_amounts_add_up(storage: SQLiteStorage) -> None:
    assert storage.incr("alice", 60, amount=3) == 3
    assert storage.incr("bob", 60) == 1
    assert storage.get("alice") == 3
    assert storage.get("mallory") == 0


def test_a_window_begins_with_its_first_hit_and_ends_by_itself(storage: SQLiteStorage) -> None:
    limiter = FixedWindowRateLimiter(storage)
    item = RateLimitItemPerSecond(2)
    begun = time.time()
    assert [limiter.hit(item, "alice") for _ in range(4)] == [True, True, False, False]
    stats = limiter.get_window_stats(item, "alice")
    assert stats.remaining == 0
    assert begun < stats.reset_time <= time.time() + 1
    while time.time() < stats.reset_time:
        time.sleep(0.01)
    assert limiter.test(item, "alice")
    assert limiter.hit(item, "alice")


def test_a_further_hit_does_not_move_the_end_of_the_window(storage: SQLiteStorage) -> None:
    storage.incr("alice", 3600)
    end = storage.get_expiry("alice")
    storage.incr("alice", 3600)
    assert storage.get_expiry("alice") == end
    assert abs(storage.get_expiry("nobody") - time.time()) < 1


def test_counts_outlive_the_process(storage: SQLiteStorage, url: str) -> None:
    storage.incr("alice", 3600, amount=7)
    storage.close()
    again = storage_from_string(url)
    assert isinstance(again, SQLiteStorage)
    assert again.get("alice") == 7
    again.close()


def test_one_key_or_all_can_be_reset(storage: SQLiteStorage) -> None:
    for name in ("alice", "bob", "carol"):
        storage.incr(name, 60)
    storage.clear("alice")
    assert storage.get("alice") == 0
    assert storage.get("bob") == 1
    assert storage.reset() == 2
    assert storage.get("bob") == 0


def test_windows_that_are_over_are_swept_away(storage: SQLiteStorage, url: str) -> None:
    for number in range(SWEEP_EVERY - 1):
        storage.incr(f"old-{number}", 0)
    storage.incr("alice", 3600)
    assert storage.reset() == 1


def test_it_is_whole_or_says_so(storage: SQLiteStorage) -> None:
    assert storage.check()


def test_a_storage_that_cannot_be_opened_raises_what_it_says_it_raises(tmp_path: Path) -> None:
    lost = SQLiteStorage(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'limits.db'}")
    with pytest.raises(lost.base_exceptions):
        lost.check()
    with pytest.raises(lost.base_exceptions):
        lost.incr("alice", 60)
    with pytest.raises(lost.base_exceptions):
        lost.get("alice")


@pytest.mark.parametrize("name", ["", "名前", "a'b", "x" * 5000, "\U0001f600"])
def test_any_name_can_be_counted(storage: SQLiteStorage, name: str) -> None:
    limiter = FixedWindowRateLimiter(storage)
    assert limiter.hit(RateLimitItemPerHour(1), name)
    assert not limiter.hit(RateLimitItemPerHour(1), name)


def test_the_package_finds_it_by_its_url(storage: Storage) -> None:
    assert isinstance(storage, SQLiteStorage)


@pytest.mark.parametrize("jump", [-3600.0, -86_400.0, 86_400.0])
def test_a_clock_that_is_set_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    storage = SQLiteStorage(f"sqlite:///{tmp_path / 'limits.db'}")
    for _ in range(5):
        storage.incr("k", 60)
    real = time.time
    monkeypatch.setattr("webapp.storage.sqlite.limits.time.time", lambda: real() + jump)
    assert storage.get("k") == 0
    assert storage.incr("k", 60) == 1
    assert 0 < storage.get_expiry("k") - (real() + jump) <= 60
    storage.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    storage = SQLiteStorage(f"sqlite:///{tmp_path / 'limits.db'}")
    storage.incr("k", 60)
    for file in tmp_path.glob("limits.db*"):
        assert file.stat().st_mode & 0o077 == 0, file
    storage.close()
