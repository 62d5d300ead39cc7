"""A user with a small limit, who asks the servers in turn: is each turn counted, and once?"""

import itertools
import threading
import time
from dataclasses import dataclass

from tests.server.running import Answer, Server

USER = "limited"
AMOUNT = 10
WINDOW_SECONDS = 5
LIMIT = f"{AMOUNT}/{WINDOW_SECONDS}seconds"
PAUSE_SECONDS = 0.2
SLACK_SECONDS = 1.0  # between the answer and its being looked at


@dataclass(slots=True)
class Tally:
    """Turns that were counted against the limit, refused for it, or let through uncounted; and
    answers that do not follow from the one before."""

    counted: int = 0
    refused: int = 0
    uncounted: int = 0
    failed: int = 0
    wrong: int = 0


class Limited:
    """Asks, in a thread of its own, until it is told.

    The counter that the answers show must go down by one each, whichever server answers, and begin
    anew when its window is over. It may also begin anew after the limiter's storage was away.
    """

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self.tally = Tally()
        self.examples: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._left: int | None = None
        self._ends = (0.0, 0.0)  # the window of the counter: at the earliest, at the latest

    def start(self) -> None:
        server = self._servers[0]
        assert server.chat(USER, "well").status == 200
        answer = server.request("PATCH", f"/api/tenants/{USER}", {"rate_limit": LIMIT})
        assert answer.status == 200, answer.body
        self._thread.start()

    def finish(self) -> str:
        """What was counted, as a sentence."""
        self._over.set()
        self._thread.join()
        tally = self.tally
        return (
            f"{tally.counted} counted, {tally.refused} refused, {tally.uncounted} let through"
            f" uncounted, {tally.failed} failed, {tally.wrong} wrong"
        )

    def _ask(self) -> None:
        for server in itertools.cycle(self._servers):
            if self._over.wait(PAUSE_SECONDS):
                return
            began = time.monotonic()
            try:
                answer = server.chat(USER, "well", timeout=90)
            except (OSError, ValueError):
                self.tally.failed += 1
                self._left = None  # nobody knows whether it was counted
                continue
            self._judge(answer, began, time.monotonic())

    def _judge(self, answer: Answer, began: float, ended: float) -> None:
        shown = answer.headers.get("X-RateLimit-Remaining")
        if answer.status == 429:
            self._judge_refusal(answer, began)
        elif shown is None:
            self._left = None
            if answer.status == 200:
                self.tally.uncounted += 1
            else:
                self.tally.failed += 1
        else:
            self._judge_count(int(shown), began, ended)

    def _judge_count(self, left: int, began: float, ended: float) -> None:
        self.tally.counted += 1
        is_known = self._left is not None
        if left == AMOUNT - 1 and (not is_known or ended >= self._ends[0]):
            self._ends = (began + WINDOW_SECONDS, ended + WINDOW_SECONDS)
        elif not is_known:
            self._ends = (0.0, ended + WINDOW_SECONDS)
        elif left != (self._left or 0) - 1:
            self.wrong(f"{left} left after {self._left}")
        self._left = left

    def _judge_refusal(self, answer: Answer, began: float) -> None:
        self.tally.refused += 1
        wait = float(answer.headers.get("Retry-After", "nan"))
        if not 0 <= wait <= WINDOW_SECONDS:
            self.wrong(f"Retry-After: {wait}")
        if self._left is None:
            return
        if self._left > 0:
            self.wrong(f"refused with {self._left} left")
        if began > self._ends[1] + SLACK_SECONDS:
            self.wrong("refused after the window")

    def wrong(self, example: str) -> None:
        """Notes what was not as it should be."""
        self.tally.wrong += 1
        if len(self.examples) < 3:
            self.examples.append(f"limit: {example}")
