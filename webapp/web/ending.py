"""The end of a request: its answer is closed, and its turn in another thread has ended."""

from __future__ import annotations

from collections.abc import Callable

from webapp.locks import BriefLock


class Ending:
    """The end of one request. Its parts end in any order; the last one runs the functions."""

    __slots__ = ("_lock", "_open", "_then", "closed")

    def __init__(self) -> None:
        self._lock = BriefLock()
        self._open = 0
        self._then: list[Callable[[], None]] = []
        self.closed = self.part()
        """To be called when the answer is closed."""

    def part(self) -> Callable[[], None]:
        """Adds a part; the function that is returned ends it."""
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
        """Runs the function at the end."""
        self._then.append(act)
