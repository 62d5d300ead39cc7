"""The windows of time of the metrics, cut into even steps in UTC; no SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from webapp.errors import InvalidInput
from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS

Period = Literal["minute", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Window:
    """`steps` steps of `step_ms` each; the last one holds the present moment and is not over.

    `period` names the sums that it is read from.
    """

    name: str
    step_ms: int
    steps: int
    period: Period

    @property
    def length_ms(self) -> int:
        return self.step_ms * self.steps

    def since(self, now_ms: int) -> int:
        """When the window begins: a whole step of UTC."""
        return now_ms - now_ms % self.step_ms - self.step_ms * (self.steps - 1)

    def starts(self, now_ms: int) -> list[int]:
        """When each of its steps begins, oldest first."""
        since = self.since(now_ms)
        return [since + index * self.step_ms for index in range(self.steps)]


WINDOWS = {
    window.name: window
    for window in (
        Window("1h", MINUTE_MS, 60, "minute"),
        Window("24h", HOUR_MS, 24, "hour"),
        Window("7d", 6 * HOUR_MS, 28, "hour"),
        Window("30d", DAY_MS, 30, "day"),
    )
}


def window_named(name: str) -> Window:
    """The window of that name; `InvalidInput` when there is none."""
    window = WINDOWS.get(name)
    if window is None:
        sentence = f"window must be one of {', '.join(WINDOWS)}"
        raise InvalidInput(sentence, fields={"window": sentence})
    return window
