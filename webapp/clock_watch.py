"""Tells whether the wall clock is right enough to delete old data by; reads no database.

A clock that jumps a day forward makes everybody look silent for a day. The monotonic clock knows
how much time has really passed, and the database knows when it was last in use.
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.clock import Clock

JUMP_SECONDS = 30.0
# So long a clock that jumped, or that nobody has watched, must run evenly before it is believed.
SETTLE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the clock is not believed yet: how far it jumped, and how long it is still watched."""

    jump_seconds: int
    wait_seconds: int


class ClockWatch:
    """Compares the clocks each time that it is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ms = clock.now_ms()
        self._steady = clock.monotonic()
        self._uneven_at: float | None = None
        self._jump = 0.0
        self._compared = False

    def doubt(
        self, last_seen_ms: int | None, *, usual_gap: float, settle: float = SETTLE_SECONDS
    ) -> Doubt | None:
        """None when the clock can be believed.

        `last_seen_ms` is the wall clock's time when somebody last looked at the database, at the
        most `usual_gap` seconds ago if it was in use all the time. A clock is watched for `settle`
        seconds; less is enough for those who delete what is younger than that.
        """
        now_ms, steady = self._clock.now_ms(), self._clock.monotonic()
        tolerance = min(JUMP_SECONDS, max(1.0, settle / 10))
        jump = (now_ms - self._wall_ms) / 1000 - (steady - self._steady)
        self._wall_ms, self._steady = now_ms, steady
        if not self._compared:
            self._compared = True
            gap = 0.0 if last_seen_ms is None else (now_ms - last_seen_ms) / 1000
            if last_seen_ms is None or not -tolerance <= gap <= usual_gap + tolerance:
                self._uneven_at, self._jump = steady, gap
        if abs(jump) > tolerance:
            self._uneven_at, self._jump = steady, jump
        if self._uneven_at is None:
            return None
        wait = self._uneven_at + min(settle, SETTLE_SECONDS) - steady
        if wait > 0:
            return Doubt(round(self._jump), round(wait) + 1)
        self._uneven_at = None
        return None
