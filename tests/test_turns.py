"""Tests of the queue of turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial

import pytest

from tests.fakes import taken, until
from webapp.errors import TenantBusy, TurnUnderWay
from webapp.turns import LocalTurnQueue


def has_waiting(queue: LocalTurnQueue, number: int) -> bool:
    return queue.load.waiting == number


def start(work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def test_turns_of_one_tenant_run_one_at_a_time_in_order_of_arrival() -> None:
    queue = LocalTurnQueue()
    seen: list[str] = []

    def turn(number: int) -> None:
        with queue.place("alice") as mine:
            assert mine
            seen.append(f"in {number}")
            time.sleep(0.0005)
            seen.append(f"out {number}")

    with queue.place("alice"):
        threads = []
        for number in range(30):
            threads.append(start(turn, number))
            until(partial(has_waiting, queue, number + 1))
        assert seen == []
    for thread in threads:
        thread.join(5)
    assert seen == [f"{way} {number}" for number in range(30) for way in ("in", "out")]
    assert queue.load.running == 0


def test_different_tenants_do_not_wait_for_one_another() -> None:
    queue = LocalTurnQueue()
    with queue.place("alice"), queue.place("bob") as mine:
        assert mine
        assert queue.load.running == 2


def test_one_more_than_may_wait_is_refused_at_once() -> None:
    queue = LocalTurnQueue()

    def turn() -> None:
        with queue.place("alice", waiting_limit=2):
            pass

    with taken(queue, "alice"):
        threads = [start(turn), start(turn)]
        until(partial(has_waiting, queue, 2))
        with pytest.raises(TenantBusy) as refusal, queue.place("alice", waiting_limit=2):
            pass
        assert refusal.value.retry_after >= 1
        with queue.place("bob", waiting_limit=2) as mine:
            assert mine
    for thread in threads:
        thread.join(5)
    assert queue.load.running == 0


def test_nobody_may_wait_where_the_limit_is_none_at_all() -> None:
    queue = LocalTurnQueue()
    with (
        taken(queue, "alice"),
        pytest.raises(TenantBusy),
        queue.place("alice", waiting_limit=0),
    ):
        pass
    with queue.place("alice", waiting_limit=0) as mine:
        assert mine


def test_a_turn_called_off_while_it_waits_leaves_the_line_to_the_others() -> None:
    queue = LocalTurnQueue()
    cancel = threading.Event()
    seen: list[str] = []

    def called_off() -> None:
        with queue.place("alice", cancel=cancel) as mine:
            seen.append(f"called off {mine is not None}")

    def patient() -> None:
        with queue.place("alice", cancel=threading.Event()) as mine:
            seen.append(f"patient {mine is not None}")

    with queue.place("alice"):
        first = start(called_off)
        until(partial(has_waiting, queue, 1))
        second = start(patient)
        until(partial(has_waiting, queue, 2))
        cancel.set()
        first.join(5)
        assert seen == ["called off False"]
    second.join(5)
    assert seen == ["called off False", "patient True"]
    assert queue.load.running == 0


def test_a_turn_that_fails_lets_the_next_one_in() -> None:
    queue = LocalTurnQueue()
    with pytest.raises(RuntimeError), queue.place("alice"):
        raise RuntimeError("the model is away")
    with queue.place("alice") as mine:
        assert mine


def test_a_place_may_be_left_in_another_thread() -> None:
    queue = LocalTurnQueue()
    place = queue.place("alice")
    assert place.__enter__()
    start(place.__exit__, None, None, None).join(5)
    assert queue.load.running == 0


def test_many_threads_of_many_tenants_lose_nothing() -> None:
    queue = LocalTurnQueue()
    counts = dict.fromkeys("abcde", 0)

    def work(tenant: str) -> None:
        for _ in range(50):
            with queue.place(tenant):
                before = counts[tenant]
                time.sleep(0)
                counts[tenant] = before + 1

    threads = [start(work, tenant) for tenant in counts for _ in range(4)]
    for thread in threads:
        thread.join(20)
    assert counts == dict.fromkeys("abcde", 200)
    assert queue.load.running == 0


def test_a_turn_inside_a_turn_of_the_same_tenant_is_refused_and_leaves_the_line_whole() -> None:
    queue = LocalTurnQueue()
    with queue.place("alice"):
        with pytest.raises(TurnUnderWay), queue.place("alice"):
            pytest.fail("it came in")
        with queue.place("bob"), pytest.raises(TurnUnderWay), queue.place("alice"):
            pytest.fail("it came in")
        assert (queue.load.running, queue.load.waiting) == (1, 0)
    with queue.place("alice") as mine:
        assert mine
    assert queue.load.running == 0


def test_another_queue_of_the_same_tenant_is_another_line() -> None:
    outer, inner = LocalTurnQueue(), LocalTurnQueue()
    with outer.place("alice"), inner.place("alice") as mine:
        assert mine


def test_a_copy_of_the_context_is_inside_too_until_the_place_is_left() -> None:
    queue = LocalTurnQueue()

    def enter() -> str:
        try:
            with queue.place("alice"):
                return "came in"
        except TurnUnderWay:
            return "refused"

    with queue.place("alice"):
        inside = copy_context()
        assert inside.run(enter) == "refused"
    assert inside.run(enter) == "came in"


def test_a_place_that_is_left_in_another_context_is_left_everywhere() -> None:
    queue = LocalTurnQueue()
    place = queue.place("alice")
    here, there = copy_context(), Context()
    here.run(place.__enter__)
    there.run(place.__exit__, None, None, None)

    def enter() -> bool:
        with queue.place("alice") as mine:
            return mine is not None

    assert here.run(enter)
    assert there.run(enter)
