"""How long a connection may take for what it does, by a clock that the test moves."""

from __future__ import annotations

import pytest

from webapp.server import patience as rules
from webapp.server.patience import HeadTooLarge, Patience, Phase


class Hands:
    """A clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def patience(clock: Hands) -> Patience:
    return Patience(75.0, clock)


def test_a_head_has_one_deadline_however_it_drips(clock: Hands, patience: Patience) -> None:
    for _ in range(14):
        clock.now += 1
        patience.came(1)
    assert patience.left() == pytest.approx(1)
    clock.now += 1
    assert patience.left() <= 0


def test_an_answered_client_may_be_silent_but_its_next_head_has_the_deadline(
    clock: Hands, patience: Patience
) -> None:
    patience.came(100)
    patience.body()
    patience.next_request()
    assert patience.left() == 75.0
    clock.now += 70
    patience.came(1)
    assert patience.phase is Phase.HEAD
    assert patience.left() == rules.HEAD_SECONDS


def test_a_head_without_end_is_too_large(patience: Patience) -> None:
    patience.came(rules.HEAD_BYTES)
    patience.came(1)
    with pytest.raises(HeadTooLarge):
        patience.came(1)


def test_a_body_must_keep_its_rate(clock: Hands, patience: Patience) -> None:
    patience.body()
    for _ in range(60):  # a byte a second is not enough
        if patience.left() <= 0:
            break
        clock.now += 1
        patience.came(1)
    assert clock.now == 1000 + rules.BODY_SECONDS + 1


def test_a_large_body_at_a_fair_rate_is_read_to_its_end(clock: Hands, patience: Patience) -> None:
    patience.body()
    for _ in range(600):
        assert patience.left() > 1
        clock.now += 1
        patience.came(2 * rules.BODY_BYTES_A_SECOND)


def test_a_fast_body_that_then_stands_still_has_no_credit(clock: Hands, patience: Patience) -> None:
    patience.body()
    assert patience.left() == rules.BODY_SECONDS
    patience.came(60 * 1024 * 1024)
    assert patience.left() == rules.BODY_SECONDS


def test_nothing_is_read_long_once_the_process_is_to_stop(clock: Hands, patience: Patience) -> None:
    patience.body()
    patience.left()
    stopping_since = clock.now
    clock.now += rules.STOP_SECONDS - 1
    patience.came(60 * 1024 * 1024)
    assert patience.left(stopping_since) == 1


def test_a_reader_at_a_byte_a_second_is_not_written_to_for_ever(patience: Patience) -> None:
    patience.body()
    pieces = 0
    while patience.may_block() >= 50:  # else this piece is not sent in time
        patience.sent(50, 50.0)
        pieces += 1
    assert pieces == 1


def test_a_reader_who_keeps_up_may_read_for_hours(patience: Patience) -> None:
    patience.body()
    for _ in range(3600):
        patience.sent(rules.SEND_BYTES_A_SECOND, 1.0)
    assert patience.may_block() == rules.SEND_SECONDS


def test_each_answer_has_a_budget_of_its_own(patience: Patience) -> None:
    patience.body()
    patience.sent(1, 59.0)
    patience.next_request()
    patience.body()
    assert patience.may_block() == rules.SEND_SECONDS


def test_what_still_comes_after_the_end_is_thrown_away_for_a_moment(
    clock: Hands, patience: Patience
) -> None:
    patience.linger()
    assert patience.left() == rules.LINGER_SECONDS
    patience.came(rules.LINGER_BYTES + 1)
    assert patience.left() <= 0
