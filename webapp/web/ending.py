"""When a request is over: its answer is closed, and whatever goes on beside it has ended too."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ending:
    """Of one request. What is to be done at its end is done once, by whoever ends last."""

    __slots__ = ("_lock", "_open", "_then", "closed")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._then: list[Callable[[], None]] = []
        self.closed = self.part()
        """To be called when the answer is closed."""

    def part(self) -> Callable[[], None]:
        """One more thing whose end is waited for; what it gives back is called at that end."""
        self._open += 1
        ended = False

        def end() -> None:
            nonlocal ended
            with self._lock:
                if ended:
                    return
                ended = True
                self._open -= 1
                last = self._open == 0
            if last:
                for act in self._then:
                    act()

        return end

    def then(self, act: Callable[[], None]) -> None:
        """Does it at the end."""
        self._then.append(act)
