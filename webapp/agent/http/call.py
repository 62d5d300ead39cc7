"""The time limits of one call to the model's server, and why it was ended; transport.py makes
it."""

from __future__ import annotations

import math
import time

from webapp.deadline import Deadline
from webapp.turns import Cancellation

# A server that sends comments or empty events is alive, so it may take longer to its next word
# than a silent one; but not for ever.
ALIVE = 2
# What may still come after the end of an answer: what it cost, and the end of the stream.
FINISH_SECONDS = 2.0
# A server that sends faster than its answer is read never makes the reader wait, and only then do
# the other turns of a worker get on. So it rests so long after it has worked so long.
WORKING_SECONDS = 0.005
RESTING_SECONDS = 0.001


class Call:
    """One request and its answer, as a clock that several threads may look at.

    `sent` tells that the whole request went out, `taken` that an answer which is no error began.
    `begin` starts it with the longest silence allowed; the reader of a streamed answer calls
    `heard` at each event that has something in it, and `complete` when only the token counts are
    still to come.
    """

    __slots__ = (
        "_complete",
        "_latest",
        "_patience",
        "_working_since",
        "called_off",
        "cancel",
        "sent",
        "streaming",
        "taken",
        "until",
    )

    def __init__(
        self,
        cancel: Cancellation | None = None,
        deadline: Deadline | None = None,
        *,
        streaming: bool = False,
    ) -> None:
        self.cancel = cancel
        self.streaming = streaming
        self.called_off = False
        self.sent = False
        self.taken = False
        self._latest = deadline.at if deadline else math.inf
        self._patience = math.inf
        self._complete = False
        self._working_since = 0.0
        self.until = self._latest

    def begin(self, patience: float | None) -> None:
        """From now on the whole answer, or the head of a streamed one, must come in time."""
        self._patience = math.inf if patience is None else patience
        self._allow(self._patience)

    def heard(self) -> None:
        """Something of the answer came: the wait for the next begins."""
        now = self.give_way()
        if not self._complete:
            self.until = min(self._latest, now + ALIVE * self._patience)

    def came(self, waited_since: float) -> None:
        """A piece was read; when it had to be waited for, others have had their turn."""
        now = time.monotonic()
        if now - waited_since > RESTING_SECONDS:
            self._working_since = now

    def give_way(self) -> float:
        """Lets others work when the reader has done so for long; gives the time."""
        now = time.monotonic()
        if now - self._working_since > WORKING_SECONDS:
            if self._working_since:
                time.sleep(RESTING_SECONDS)
            self._working_since = now = time.monotonic()
        return now

    def rest(self) -> None:
        """Nobody waits for the server: the reader does something else with what it has."""
        if not self._complete:
            self.until = self._latest

    def complete(self) -> None:
        """Only the usage figures may still come; they are waited for shortly."""
        if not self._complete:
            self._complete = True
            self.until = min(self.until, time.monotonic() + FINISH_SECONDS)

    def goes_on(self) -> None:
        """More came after what had looked like the end: some say at each piece that it is one."""
        self._complete = False
        self.heard()

    def is_over(self) -> bool:
        """Nobody wants the answer any more, or its time has run out."""
        if self.cancel is not None and self.cancel.is_set():
            self.called_off = True
            return True
        return time.monotonic() >= self.until

    @property
    def was_left(self) -> bool:
        """Whether the call was ended early, so that the server may have gone on working."""
        return self.called_off or time.monotonic() >= self.until

    @property
    def left(self) -> float | None:
        """Seconds until its time runs out, as sockets want it: above 0, None without a limit."""
        return None if self.until == math.inf else max(0.001, self.until - time.monotonic())

    def _allow(self, seconds: float) -> None:
        self.until = min(self._latest, time.monotonic() + seconds)
