"""Which connections go for a new one: the silent, the oldest first, never those that work."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from webapp.server.connections import FRESH_SECONDS, RESERVE, SHARE, Connections


class Hands:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False, slots=True)
class Caller:
    """A connection."""

    group: str
    ended: bool = False

    def is_last(self) -> None:
        pass

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def clock() -> Hands:
    return Hands()


def crowd(number: int, group: str = "") -> list[Caller]:
    return [Caller(group or f"192.0.2.{each}") for each in range(number)]


def test_the_oldest_silent_one_goes_when_there_is_no_place_left(clock: Hands) -> None:
    connections, callers = Connections(10, clock=clock), crowd(11)
    for caller in callers:
        clock.now += 1
        assert connections.add(caller)
    assert [caller.ended for caller in callers] == [True, *[False] * 10]
    assert len(connections) == 10


def test_who_works_is_never_ended_and_the_next_may_only_ask_for_a_sign_of_life(
    clock: Hands,
) -> None:
    connections, callers = Connections(10, clock=clock), crowd(10)
    for caller in callers:
        assert connections.add(caller)
        connections.busy(caller)
    late = crowd(RESERVE + 5)
    assert not any(connections.add(caller) for caller in late)
    assert not any(caller.ended for caller in callers)
    assert len(connections) <= 10 + RESERVE + 1


def test_a_thousand_silent_ones_of_one_address_leave_the_others_alone(clock: Hands) -> None:
    connections = Connections(100, clock=clock)
    others = crowd(50)
    for other in others:
        connections.add(other)
    clock.now += 60  # they have been silent for longer than any of the crowd
    loud = crowd(1000, "198.51.100.7")
    for caller in loud:
        clock.now += 0.5
        assert connections.add(caller)
    assert not any(other.ended for other in others)
    still = [caller for caller in loud if not caller.ended]
    assert len(still) <= 100 // SHARE + FRESH_SECONDS / 0.5


def test_a_busy_address_is_not_bounded_by_its_share(clock: Hands) -> None:
    connections = Connections(100, clock=clock)
    backend = crowd(90, "198.51.100.7")
    for caller in backend:
        connections.add(caller)
        connections.busy(caller)
        clock.now += 10
    assert not any(caller.ended for caller in backend)


def test_those_that_were_answered_just_now_are_about_to_ask_again(clock: Hands) -> None:
    connections = Connections(1000, clock=clock)
    backend = crowd(900, "198.51.100.7")
    for caller in backend:
        connections.add(caller)
    assert not any(caller.ended for caller in backend)


def test_behind_proxies_an_address_says_nothing(clock: Hands) -> None:
    connections = Connections(100, share_addresses=False, clock=clock)
    proxied = crowd(99, "10.0.0.1")
    for caller in proxied:
        clock.now += 10
        connections.add(caller)
    assert not any(caller.ended for caller in proxied)


def test_what_was_removed_leaves_nothing_behind(clock: Hands) -> None:
    connections = Connections(10, clock=clock)
    for caller in crowd(10):
        connections.add(caller)
        connections.silent(caller)
        connections.remove(caller)
        connections.silent(caller)
    assert (len(connections), connections.silent_count) == (0, 0)
