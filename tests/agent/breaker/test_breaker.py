"""When the breaker opens, whom it refuses, and how it closes again."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

import pytest

from webapp.agent.breaker.breaker import Breaker
from webapp.errors import ModelUnavailable

PAUSE = 10.0


@dataclass
class Hand:
    """A clock that is moved by hand."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def breaker(hand: Hand) -> Breaker:
    return Breaker(10, PAUSE, hand)


def call(breaker: Breaker, user: str, *, works: bool) -> None:
    """One call from its begin to its end."""
    attempt = breaker.begin(user)
    attempt.answered() if works else attempt.failed()
    attempt.end()


def fail(breaker: Breaker, number: int = 10) -> None:
    for user in range(number):
        call(breaker, f"u{user}", works=False)


def name(breaker: Breaker) -> str:
    return breaker.state.name


def is_refused(breaker: Breaker, user: str = "somebody") -> bool:
    try:
        breaker.require(user)
    except ModelUnavailable:
        return True
    return False


def test_it_opens_when_nearly_all_fail_and_says_when_to_come_back(
    breaker: Breaker, hand: Hand
) -> None:
    fail(breaker, 9)
    assert name(breaker) == "closed"
    fail(breaker, 1)
    assert name(breaker) == "open"
    hand.at += 3
    with pytest.raises(ModelUnavailable) as refused:
        breaker.begin("anybody")
    assert (refused.value.status, refused.value.code) == (503, "model_unavailable")
    assert refused.value.retry_after == 7
    assert (breaker.state.seconds, breaker.state.opened, breaker.state.refused) == (3.0, 1, 1)
    assert breaker.state.users is None


def test_one_probe_goes_first_and_three_answers_close_it(breaker: Breaker, hand: Hand) -> None:
    fail(breaker)
    hand.at += PAUSE
    assert name(breaker) == "half_open"
    probe = breaker.begin("a")
    assert is_refused(breaker)
    probe.answered()
    second, third = breaker.begin("b"), breaker.begin("c")
    assert is_refused(breaker)
    second.answered()
    assert name(breaker) == "half_open"
    third.answered()
    assert name(breaker) == "closed"
    for each in (probe, second, third):
        each.end()
    assert breaker.state.at_model == 0


def test_a_probe_that_fails_opens_it_again(breaker: Breaker, hand: Hand) -> None:
    fail(breaker)
    hand.at += PAUSE
    call(breaker, "a", works=False)
    assert name(breaker) == "open"
    assert breaker.state.opened == 1
    hand.at += PAUSE
    assert not is_refused(breaker)


def test_a_probe_that_says_nothing_of_the_server_frees_its_place(
    breaker: Breaker, hand: Hand
) -> None:
    fail(breaker)
    hand.at += PAUSE
    probe = breaker.begin("a")
    assert is_refused(breaker)
    probe.end()
    assert name(breaker) == "half_open"
    assert not is_refused(breaker)


def test_the_later_calls_of_a_turn_go_through(breaker: Breaker) -> None:
    fail(breaker)
    breaker.begin("a", begins_turn=False).end()


def test_one_user_whose_every_call_fails_is_refused_alone(breaker: Breaker) -> None:
    for _ in range(10):
        call(breaker, "noisy", works=False)
    assert is_refused(breaker, "noisy")
    assert breaker.state.users == 1
    for user in "abc":
        call(breaker, user, works=True)
    assert is_refused(breaker, "noisy")


def test_answers_to_others_close_it_after_the_pause(breaker: Breaker, hand: Hand) -> None:
    for _ in range(10):
        call(breaker, "noisy", works=False)
    hand.at += PAUSE
    for user in "abc":
        call(breaker, user, works=True)
    assert name(breaker) == "closed"


def test_one_user_among_others_opens_nothing(breaker: Breaker) -> None:
    for _ in range(50):
        call(breaker, "noisy", works=False)
        call(breaker, "good", works=True)
        assert name(breaker) == "closed"


def test_when_others_fail_too_it_is_the_server(breaker: Breaker) -> None:
    for _ in range(10):
        call(breaker, "first", works=False)
    call(breaker, "second", works=False)
    assert not is_refused(breaker, "third")
    call(breaker, "third", works=False)
    assert is_refused(breaker, "fourth")
    assert breaker.state.users is None


def test_who_probed_in_vain_lets_others_probe(breaker: Breaker, hand: Hand) -> None:
    fail(breaker)
    hand.at += PAUSE
    call(breaker, "noisy", works=False)
    assert is_refused(breaker, "good")
    hand.at += PAUSE
    assert is_refused(breaker, "noisy")
    for _ in range(3):
        call(breaker, "good", works=True)
    assert name(breaker) == "closed"


def test_who_is_alone_probes_again(breaker: Breaker, hand: Hand) -> None:
    for _ in range(10):
        call(breaker, "only", works=False)
    for _ in range(3):
        hand.at += PAUSE
        call(breaker, "only", works=False)
        assert is_refused(breaker, "only")
    hand.at += PAUSE
    call(breaker, "only", works=True)


def test_calls_that_began_before_the_server_recovered_do_not_open_it(
    breaker: Breaker, hand: Hand
) -> None:
    hung = [breaker.begin(f"u{number}") for number in range(40)]
    hand.at += 60
    for user in "abcde":
        call(breaker, user, works=True)
    for each in hung:
        each.failed()
        each.end()
    assert name(breaker) == "closed"


def test_quick_failures_before_slow_answers_do_not_open_it(breaker: Breaker) -> None:
    """A crowd comes at once; three of ten fail at once, the others are answered later."""
    crowd = [breaker.begin(f"u{number}") for number in range(1000)]
    for number, each in enumerate(crowd):
        if number % 10 < 3:
            each.failed()
    assert name(breaker) == "closed"
    for number, each in enumerate(crowd):
        if number % 10 >= 3:
            each.answered()
        each.end()
    assert name(breaker) == "closed"


def test_a_server_that_hangs_opens_it_while_more_turns_come(breaker: Breaker, hand: Hand) -> None:
    """Calls fail in the order in which they began, a minute later; a tenth of a second apart."""
    under_way = []
    for number in range(620):
        hand.at += 0.1
        if is_refused(breaker):
            break
        under_way.append(breaker.begin(f"u{number}"))
        if number >= 600:
            under_way[number - 600].failed()
    assert name(breaker) == "open"


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_with_some_errors_it_loses_few_turns_even_without_retries(
    share: float, breaker: Breaker, hand: Hand
) -> None:
    dice, refused = random.Random(7), 0
    for number in range(20_000):
        hand.at += 0.1
        if is_refused(breaker, f"u{number}"):
            refused += 1
        else:
            call(breaker, f"u{number}", works=dice.random() >= share)
    assert refused <= (0 if share == 0.3 else 6000)


def test_calls_that_say_nothing_do_not_count(breaker: Breaker) -> None:
    for number in range(10):
        breaker.begin(f"gone-{number}").end()
        call(breaker, f"u{number}", works=False)
    assert name(breaker) == "open"


def test_failures_far_apart_say_nothing(breaker: Breaker, hand: Hand) -> None:
    for number in range(100):
        hand.at += 7
        call(breaker, f"u{number}", works=False)
    assert name(breaker) == "closed"


def test_an_answer_that_breaks_off_is_a_failure(breaker: Breaker) -> None:
    for number in range(10):
        attempt = breaker.begin(f"u{number}")
        attempt.answered()
        attempt.failed()
        attempt.end()
    assert name(breaker) == "open"


def test_a_server_that_asks_for_longer_is_left_alone_for_longer(
    breaker: Breaker, hand: Hand
) -> None:
    fail(breaker, 9)
    breaker.begin("a").failed(retry_after=25.0)
    assert breaker.state.retry_after == 25
    hand.at += 25
    breaker.begin("a").failed(retry_after=86_400.0)
    assert breaker.state.retry_after == 60


def test_another_server_begins_anew(breaker: Breaker) -> None:
    late = breaker.begin("late")
    fail(breaker)
    breaker.start_over()
    assert name(breaker) == "closed"
    late.failed()
    late.end()
    fail(breaker, 9)
    assert name(breaker) == "closed"


def test_with_zero_failures_it_never_opens() -> None:
    breaker = Breaker(0)
    fail(breaker, 100)
    assert (name(breaker), breaker.state.at_model) == ("off", 0)


def test_threads_may_share_it() -> None:
    breaker = Breaker(10, pause=0.001)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for number in range(2000):
            try:
                call(breaker, f"u{seed}-{number}", works=dice.random() < 0.5)
            except ModelUnavailable:
                pass

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state.at_model == 0
