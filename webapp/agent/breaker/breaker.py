"""The circuit breaker: closed, open, half-open; knows neither models nor HTTP.

docs/decisions.md says how its numbers were chosen and which libraries were looked at.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from webapp.agent.breaker.rounds import Round
from webapp.errors import ModelUnavailable
from webapp.locks import BriefLock

logger = logging.getLogger("switchboard.model")

StateName: TypeAlias = Literal["off", "closed", "half_open", "open"]
FAILURES = 10
PAUSE_SECONDS = 5.0
# So long a server may have itself left alone.
LONGEST_PAUSE_SECONDS = 60.0
# So many probes must be answered, and no more may fail, before everybody is let through again.
ANSWERS_TO_CLOSE = 3
# Failures of fewer users may be of those users' making: only they are kept out.
USERS_FOR_ALL = 3


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The breaker at one moment.

    `seconds` is how long it has not been closed, `retry_after` when the next turn may be tried,
    `users` how many are refused, None for all. `opened` and `refused` count since the start of the
    process; `at_model` are the calls under way.
    """

    name: StateName
    seconds: float = 0.0
    retry_after: int = 0
    users: int | None = 0
    at_model: int = 0
    opened: int = 0
    refused: int = 0


@dataclass(slots=True, eq=False)
class _Opening:
    """The time from one opening to the closing after it; half-open from `until` on."""

    since: float
    until: float
    users: set[str]
    for_all: bool
    probing: int = 0
    allowed: int = 1
    answered: int = 0
    failed: int = 0
    last_prober: str | None = None
    others_wait: bool = False

    def keeps_out(self, user: str) -> bool:
        return self.for_all or user in self.users


@dataclass(slots=True, eq=False)
class Try:
    """One call: say `answered` or `failed` when it is known, or neither when nothing is said of
    the server; and `end` in any case."""

    breaker: Breaker
    round: Round
    user: str
    began: float
    probe: _Opening | None = None
    has_answer: bool = False
    is_judged: bool = False

    def answered(self) -> None:
        """The server does its work: an answer came, or the first of its text."""
        if not self.has_answer:
            self.breaker.answered(self)

    def failed(self, retry_after: float | None = None) -> None:
        """The server failed, and perhaps said how many seconds to leave it alone."""
        self.breaker.failed(self, retry_after)

    def end(self) -> None:
        self.breaker.ended(self)


@dataclass(slots=True, eq=False)
class Breaker:
    """Lets calls through while the server works, and few of them while it does not.

    It opens when `failures` calls of one round have failed and with them nearly all of its users,
    and lets a single call probe the server after `pause` seconds. With `failures` of 0 it never
    opens. One instance serves all threads of a process.
    """

    failures: int = FAILURES
    pause: float = PAUSE_SECONDS
    now: Callable[[], float] = time.monotonic
    _opening: _Opening | None = None
    _round: Round = field(init=False)
    _before: Round = field(init=False)
    _judged_from: int = 0
    _at_model: int = 0
    _opened: int = 0
    _refused: int = 0
    _lock: BriefLock = field(default_factory=BriefLock, repr=False)

    def __post_init__(self) -> None:
        self._round = self._before = Round(1, 2 * self.failures, self.now())

    @property
    def state(self) -> BreakerState:
        with self._lock:
            opening, now = self._opening, self.now()
            counts = {"at_model": self._at_model, "opened": self._opened, "refused": self._refused}
            if opening is None:
                return BreakerState("closed" if self.failures else "off", **counts)
            return BreakerState(
                "open" if now < opening.until else "half_open",
                now - opening.since,
                self._wait(opening, now),
                None if opening.for_all else len(opening.users),
                **counts,
            )

    def refusal(self, user: str) -> ModelUnavailable | None:
        """The refusal that a call for this user would get now; whoever asks tells the user of it.

        For those who come or wait: what a turn costs before its first call can be saved.
        """
        opening = self._opening
        if opening is None or not opening.keeps_out(user):
            return None
        with self._lock:
            return None if self._lets_probe(user) else self._refusal(user)

    def require(self, user: str) -> None:
        """Raises this refusal."""
        refusal = self.refusal(user)
        if refusal is not None:
            raise refusal

    def begin(self, user: str, *, begins_turn: bool = True) -> Try:
        """A call begins; raises `ModelUnavailable` instead when it is refused.

        The later calls of a turn always go through: the turn has been paid for in part.
        """
        now = self.now()
        with self._lock:
            opening = self._opening
            probe: _Opening | None = None
            if opening is not None and begins_turn and opening.keeps_out(user):
                if not self._lets_probe(user):
                    raise self._refusal(user)
                probe = opening
                opening.probing += 1
                opening.last_prober, opening.others_wait = user, False
            if self._round.is_over(now):
                self._next_round(now)
            self._round.begin(user)
            self._at_model += 1
            return Try(self, self._round, user, now, probe)

    def start_over(self) -> None:
        """Another server or model is asked from now on: what was learned does not hold for it."""
        with self._lock:
            self._opening = None
            self._forget_rounds()

    # -- what a call says of itself ---------------------------------------------------------------

    def answered(self, call: Try) -> None:
        with self._lock:
            call.has_answer = call.is_judged = True
            call.round.answered(call.user)
            opening = self._free(call) or self._tried_by_others(call)
            if opening is None:
                return
            opening.answered += 1
            opening.allowed += 1
            closes = opening.answered >= ANSWERS_TO_CLOSE
            if closes:
                self._opening = None
                self._forget_rounds()
        if closes:  # the log may wait, so not under a brief lock
            seconds = round(self.now() - opening.since, 1)
            logger.warning("model_breaker_closed", extra={"seconds": seconds})

    def failed(self, call: Try, retry_after: float | None) -> None:
        with self._lock:
            call.round.failed(call.user, after_answer=call.has_answer)
            call.has_answer, call.is_judged = False, True
            if not self.failures:
                return
            opens, opening = False, self._free(call)
            if opening is not None:
                self._probed_in_vain(opening, call, retry_after)
            elif self._opening is not None:
                self._widen(self._opening, call)
            elif opens := self._is_ill(call.round):
                self._open(call.round, retry_after)
        if opens:
            failed = {"failures": call.round.failures, "users": len(call.round.failing)}
            logger.warning("model_breaker_opened", extra=failed)

    def ended(self, call: Try) -> None:
        with self._lock:
            self._at_model -= 1
            self._free(call)
            if not call.is_judged:
                call.round.withdraw(call.user)

    # -- states; all of it is called with the lock held -------------------------------------------

    def _free(self, call: Try) -> _Opening | None:
        """The probe's place is free again; gives the opening that it was made for, if it lasts."""
        opening, call.probe = call.probe, None
        if opening is None or opening is not self._opening:
            return None
        opening.probing -= 1
        return opening

    def _tried_by_others(self, call: Try) -> _Opening | None:
        """The opening, when it is half-open and this call of a user whom it does not keep out shows
        that the server works."""
        opening = self._opening
        if opening is None or opening.for_all or call.began < opening.since:
            return None
        return opening if self.now() >= opening.until else None

    def _is_ill(self, among: Round) -> bool:
        if among.failures < self.failures or among.number < self._judged_from:
            return False
        # Those who waited for long before they failed may be late: the server works again.
        later = (each for each in (self._before, self._round) if each.number > among.number)
        return among.says_ill and not any(each.says_well for each in later)

    def _open(self, among: Round, retry_after: float | None) -> None:
        now, users = self.now(), set(among.failing)
        for_all = len(users) >= USERS_FOR_ALL
        self._opening = _Opening(now, now + self._pause(retry_after), users, for_all)
        self._opened += 1

    def _widen(self, opening: _Opening, call: Try) -> None:
        """One more user fails who was not kept out."""
        if opening.for_all or call.user not in call.round.failing:
            return
        opening.users.add(call.user)
        if len(opening.users) >= USERS_FOR_ALL:
            opening.for_all, opening.until = True, self.now() + self.pause

    def _probed_in_vain(self, opening: _Opening, call: Try, retry_after: float | None) -> None:
        opening.users.add(call.user)
        opening.for_all = opening.for_all or len(opening.users) >= USERS_FOR_ALL
        opening.failed += 1
        if opening.failed > opening.answered:
            opening.allowed, opening.answered, opening.failed = 1, 0, 0
            opening.until = self.now() + self._pause(retry_after)

    def _forget_rounds(self) -> None:
        self._next_round(self.now())
        self._before, self._judged_from = self._round, self._round.number

    def _next_round(self, now: float) -> None:
        self._before = self._round
        self._round = Round(self._before.number + 1, max(1, 2 * self.failures), now)

    def _lets_probe(self, user: str) -> bool:
        opening = self._opening
        if opening is None:
            return True
        now = self.now()
        if now < opening.until or opening.probing >= opening.allowed:
            return False
        # Who probed in vain lets others go first: it may be this one user's words that fail.
        again = user == opening.last_prober and opening.others_wait and not opening.answered
        return not again or now >= opening.until + self.pause

    def _pause(self, asked: float | None) -> float:
        return max(self.pause, min(asked or 0.0, LONGEST_PAUSE_SECONDS))

    def _wait(self, opening: _Opening, now: float) -> int:
        return max(1, math.ceil(opening.until - now))

    def _refusal(self, user: str) -> ModelUnavailable:
        self._refused += 1
        opening = self._opening
        wait = 1
        if opening is not None:
            wait = self._wait(opening, self.now())
            opening.others_wait = opening.others_wait or user != opening.last_prober
        return ModelUnavailable(
            "The model's server does not work at the moment; nothing was stored, so try again"
            " in a moment.",
            retry_after=wait,
        )
