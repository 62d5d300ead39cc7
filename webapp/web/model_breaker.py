"""How the breaker round the model is in all workers of this server, whichever of them is asked."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import get_args

from webapp.agent.breaker.breaker import BreakerState, StateName
from webapp.worker_figures import OwnFigures, Standing, WorkerFigures

STATES: tuple[StateName, ...] = get_args(StateName)  # the worst is the last
_STATE, _SINCE, _UNTIL = ("breaker_state",), ("breaker_since",), ("breaker_until",)
_FOR_ALL = ("breaker_for_all",)
AT_MODEL = ("turns_at_model",)
OPENED, REFUSED = ("breaker_opened",), ("breaker_refused",)


def note(figures: OwnFigures, state: BreakerState) -> None:
    """Notes the state of this worker's own."""
    now = time.monotonic()
    figures.gauge(_STATE, STATES.index(state.name))
    figures.gauge(_SINCE, now - state.seconds)
    figures.gauge(_UNTIL, now + state.retry_after)
    figures.gauge(_FOR_ALL, state.users is None)
    figures.gauge(AT_MODEL, state.at_model)
    figures.count_up_to(OPENED, state.opened)
    figures.count_up_to(REFUSED, state.refused)


@dataclass(frozen=True, slots=True)
class BreakerFigures:
    """The worst state in any worker, in how many of how many it is not closed, for how many
    seconds, when the next turn tries the model, and whether the turns of all users are refused."""

    name: StateName = "closed"
    workers: int = 0
    of: int = 0
    seconds: float = 0.0
    retry_after: int = 0
    for_all: bool = False

    @property
    def is_closed(self) -> bool:
        return not self.workers

    @property
    def sentence(self) -> str:
        """What an operator reads while it is not closed."""
        whose = "turns" if self.for_all else "the turns of the users who met that"
        where = f" in {self.workers} of {self.of} workers" if self.of > 1 else ""
        if self.name == "half_open":
            then = "single ones try it now"
        else:
            then = f"the next one tries it in {self.retry_after} s"
        return (
            f"The model's server failed again and again, so {whose} are refused at once{where};"
            f" {then}."
        )


def state_of(worker: Standing) -> StateName:
    return STATES[int(worker.gauges.get(_STATE, STATES.index("closed")))]


def of_all_workers(figures: WorkerFigures) -> BreakerFigures:
    """As they were noted last, each some tenths of a second ago."""
    now, living = time.monotonic(), figures.living()
    ill = [worker.gauges for worker in living if state_of(worker) in ("open", "half_open")]
    if not ill:
        return BreakerFigures(of=len(living))
    return BreakerFigures(
        STATES[int(max(each[_STATE] for each in ill))],
        len(ill),
        len(living),
        now - min(each[_SINCE] for each in ill),
        max(1, math.ceil(min(each[_UNTIL] for each in ill) - now)),
        any(each[_FOR_ALL] for each in ill),
    )
