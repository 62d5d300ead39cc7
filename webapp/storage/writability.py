"""Tells whether the database takes writes, without a write for each question; engine-free.

A commit that came through is a proof for a moment. When the last proof is older, or a write has
failed since, one small write is tried for all who ask meanwhile, and nobody waits for it longer
than it may take: a lock that is held and a disk that stands still look the same from here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from webapp.errors import StorageUnavailable

PROOF_SECONDS = 1.0
# Behind a write that failed, a try that does not come back at once has failed as well.
SUSPECT_SECONDS = 0.25
STALLED = (
    "The database takes no writes now: its disk does not answer, or another program holds it;"
    " nothing was stored."
)


class Writability:
    """Whether one database takes writes, as far as known; `try_write` is the small durable
    write."""

    def __init__(self, try_write: Callable[[], None]) -> None:
        self._try_write = try_write
        self._lock = threading.Lock()
        self._proven_at: float | None = None
        self._fault: StorageUnavailable | None = None
        self._trial: _Trial | None = None
        self._busy_since: float | None = None

    @property
    def suspect(self) -> bool:
        """A write has failed and none has come through since."""
        return self._fault is not None

    @property
    def fault(self) -> StorageUnavailable | None:
        return self._fault

    @property
    def proven(self) -> bool:
        """Any write of this process has come through."""
        return self._proven_at is not None

    def came_through(self) -> None:
        self._fault = None
        self._proven_at = time.monotonic()

    def failed(self, error: StorageUnavailable) -> None:
        """Only what is wrong with the database itself, not with what it was told to do."""
        self._fault = error

    def long_act(self, running: bool) -> None:
        """Says that an act of this process holds the database up, which is no fault of it."""
        self._busy_since = time.monotonic() if running else None

    def require(self, patience: float) -> None:
        """Raises `StorageUnavailable` when a write would fail now, after `patience` at the most."""
        now = time.monotonic()
        if self._fault is None and (
            (self._proven_at is not None and now - self._proven_at < PROOF_SECONDS)
            or (self._busy_since is not None and now - self._busy_since < patience)
        ):
            return
        with self._lock:
            if self._fault is None and self._proven_at is not None and self._proven_at >= now:
                return  # somebody's try came through while this one waited for its turn
            trial = self._trial
            if trial is None or trial.done.is_set():
                trial = self._trial = _Trial(self._try_write)
                threading.Thread(target=trial.run, name="write-trial", daemon=True).start()
        if not trial.done.wait(min(patience, SUSPECT_SECONDS) if self.suspect else patience):
            if self._fault is None and not trial.done.is_set():
                self._fault = StorageUnavailable(STALLED, part="stalled")
            fault = self._fault or StorageUnavailable(STALLED, part="stalled")
            raise StorageUnavailable(fault.message, part=fault.part) from fault.__cause__
        if trial.error is not None:
            raise StorageUnavailable(trial.error.message, part=trial.error.part) from trial.error


class _Trial:
    """One try, whose outcome is shared by all who wait for it."""

    def __init__(self, try_write: Callable[[], None]) -> None:
        self._try_write = try_write
        self.done = threading.Event()
        self.error: StorageUnavailable | None = None

    def run(self) -> None:
        try:
            self._try_write()
        except StorageUnavailable as error:
            self.error = error
        finally:
            self.done.set()
