"""How many turns run at once, and who waits for room."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.fakes import until
from webapp.errors import ModelUnavailable, ServerBusy, SwitchboardError
from webapp.turn_room import SeatedQueue, TurnRoom
from webapp.turns import LocalTurnQueue


def test_as_many_as_there_is_room_for_run_and_the_next_waits_in_order() -> None:
    room, order = TurnRoom(1), list[int]()

    def sit(number: int) -> None:
        with room.seat() as seated:
            assert seated
            order.append(number)

    with ThreadPoolExecutor(3) as pool:
        with room.seat():
            waiting = []
            for number in range(3):
                waiting.append(pool.submit(sit, number))
                until(lambda: room.waiting == number + 1)  # noqa: B023  # asked within the round
            assert order == []
        for future in waiting:
            future.result(10)
    assert order == [0, 1, 2]
    assert room.waiting == 0


def test_who_waits_in_vain_is_told_when_to_come_back_and_leaves_nothing() -> None:
    room = TurnRoom(1, patience=0.01)
    with room.seat(), pytest.raises(ServerBusy) as refused, room.seat():
        pass
    assert (refused.value.status, refused.value.code) == (503, "server_busy")
    assert refused.value.retry_after >= 1
    with room.seat() as seated:
        assert seated


def test_who_was_called_off_while_waiting_gets_no_seat() -> None:
    room, cancel = TurnRoom(1), threading.Event()
    with room.seat():
        cancel.set()
        with room.seat(cancel) as seated:
            assert not seated
    with room.seat(cancel) as seated:
        assert seated


def test_a_seat_given_to_one_who_fails_is_free_again() -> None:
    room = TurnRoom(1)
    with pytest.raises(KeyError), room.seat():
        raise KeyError
    with room.seat() as seated:
        assert seated


def test_twice_as_many_are_in_the_process_and_the_next_is_refused_at_once() -> None:
    room = TurnRoom(2)
    with ExitStack() as all_of_them:
        for _ in range(4):
            all_of_them.enter_context(room.presence())
        with pytest.raises(ServerBusy), room.presence():
            pass
    with room.presence():
        pass


def test_who_waits_is_told_when_the_tenant_is_refused_meanwhile() -> None:
    refused: list[SwitchboardError] = []
    queue = SeatedQueue(
        LocalTurnQueue(), TurnRoom(1), lambda tenant: refused[0] if refused and tenant else None
    )

    def sit(tenant: str) -> None:
        with queue.place(tenant) as place:
            assert place

    with ThreadPoolExecutor(2) as pool:
        with queue.place("a"):
            in_line, without_room = pool.submit(sit, "a"), pool.submit(sit, "b")
            until(lambda: queue.load.waiting == 2)
            refused.append(ModelUnavailable("ill"))
            for future in (in_line, without_room):
                with pytest.raises(ModelUnavailable):
                    future.result(10)
        refused.clear()
        pool.submit(sit, "b").result(10)
    assert (queue.load.running, queue.load.waiting) == (0, 0)
