"""What the workers of one server count, in memory that all of them see.

Gunicorn's first process makes it before it starts them. Each worker writes a part of its own and
reads all parts, so whichever answers can tell of all. The part of a worker that has ended stays,
and the next one goes on in it: no count is lost however a worker dies, no part is ever added for
one that is replaced, and there is no file that somebody would have to clear away.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

Key = tuple[str, ...]

PARTS = 128  # workers at one moment, those that are stopping included
PART_BYTES = 512 * 1024  # touched as far as it is used; a series takes some 60 bytes
STILL_SECONDS = 5.0  # a worker that was not seen for so long stands still
_WANTED = 0  # in the first part, which is no worker's
_USED, _PID, _SEEN, _STARTS = range(4)
_HEAD_BYTES = 64
_BYTES = 8  # of a number
_GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Standing:
    """A worker that lives: its process, whether it was seen just now, and its gauges."""

    pid: int
    still: bool
    gauges: Mapping[Key, float]


@dataclass(slots=True)
class _Read:
    """What is known of the names in one part: they are added, and never change."""

    end: int = _HEAD_BYTES
    places: dict[Key, int] = field(default_factory=dict)


class WorkerFigures:
    """The memory of all workers of one server."""

    def __init__(self, parts: int = PARTS) -> None:
        self._memory = mmap.mmap(-1, (parts + 1) * PART_BYTES)
        self._numbers = memoryview(self._memory).cast("d")
        self._lengths = memoryview(self._memory).cast("Q")
        self._known = [_Read() for _ in range(parts)]
        self._lock = threading.Lock()

    @property
    def wanted(self) -> int:
        """How many workers there should be; 0 where nobody starts any."""
        return int(self._numbers[_WANTED])

    @wanted.setter
    def wanted(self, number: int) -> None:
        self._numbers[_WANTED] = number

    @property
    def starts(self) -> int:
        """How many workers have begun so far."""
        return sum(
            int(self._numbers[self._first(part) + _STARTS]) for part in range(len(self._known))
        )

    def part_beside(self, taken: set[int]) -> int | None:
        """A part for one more worker; None when all are taken."""
        return next((part for part in range(len(self._known)) if part not in taken), None)

    def own(self, part: int, pid: int) -> OwnFigures:
        """The part as its worker writes it, from now on."""
        return OwnFigures(self, part, pid)

    def release(self, part: int) -> None:
        """The worker of this part has ended; what it counted stays."""
        first = self._first(part)
        self._numbers[first + _PID] = 0
        for key, place in self._places(part).items():
            if key[0] == _GAUGE:
                self._numbers[place] = 0

    def sums(self) -> dict[Key, float]:
        """What was counted under each name, by all workers that there were."""
        found: defaultdict[Key, float] = defaultdict(float)
        for part in range(len(self._known)):
            for key, place in self._places(part).items():
                if key[0] != _GAUGE:
                    found[key] += self._numbers[place]
        return dict(found)

    def living(self) -> list[Standing]:
        """The workers that live now."""
        found = []
        now = time.monotonic()
        for part in range(len(self._known)):
            first = self._first(part)
            pid = int(self._numbers[first + _PID])
            if pid:
                gauges = {
                    key[1:]: self._numbers[place]
                    for key, place in self._places(part).items()
                    if key[0] == _GAUGE
                }
                seen = self._numbers[first + _SEEN]
                found.append(Standing(pid, now - seen > STILL_SECONDS, gauges))
        return found

    @staticmethod
    def _first(part: int) -> int:
        """Where the part begins, in numbers."""
        return (part + 1) * PART_BYTES // _BYTES

    def _places(self, part: int) -> Mapping[Key, int]:
        """Where the number of each name is."""
        first, known = self._first(part), self._known[part]
        used = self._lengths[first + _USED]
        if known.end < used:
            with self._lock:
                added, end = {}, known.end
                while end < used:
                    record = first + end // _BYTES
                    length = self._lengths[record + 1]
                    start = (record + 2) * _BYTES
                    text = self._memory[start : start + length].decode()
                    added[tuple(text.split("\n"))] = record
                    end += 2 * _BYTES + _whole(length)
                # Others may be walking through the old one.
                known.places, known.end = {**known.places, **added}, end
        return known.places

    def _add(self, part: int, key: Key) -> int | None:
        """A place for one more name; None when the part is full."""
        text = "\n".join(key).encode()
        first = self._first(part)
        used = self._lengths[first + _USED] or _HEAD_BYTES
        size = 2 * _BYTES + _whole(len(text))
        if used + size > PART_BYTES:
            return None
        record = first + used // _BYTES
        start = (record + 2) * _BYTES
        self._lengths[record + 1] = len(text)
        self._memory[start : start + len(text)] = text
        # Last: who is killed before has added nothing, and who reads sees all of it.
        self._lengths[first + _USED] = used + size
        return record


class OwnFigures:
    """The part of this worker. A name is a few words without line breaks."""

    def __init__(self, figures: WorkerFigures, part: int, pid: int) -> None:
        self.all = figures
        self._part = part
        self._numbers = figures._numbers
        self._first = figures._first(part)
        self._places: dict[Key, int | None] = dict(figures._places(part))
        self._mirrored: dict[Key, float] = {}
        self._lock = threading.Lock()
        self.seen()
        self._numbers[self._first + _STARTS] += 1
        self._numbers[self._first + _PID] = pid

    def seen(self) -> None:
        """This worker lives, now."""
        self._numbers[self._first + _SEEN] = time.monotonic()

    def count(self, amounts: Mapping[Key, float]) -> None:
        """Adds to each of these names."""
        with self._lock:
            for key, amount in amounts.items():
                place = self._place(key)
                if place is not None:
                    self._numbers[place] += amount

    def gauge(self, key: Key, value: float) -> None:
        """How something is now in this worker; it is gone when the worker is."""
        with self._lock:
            place = self._place((_GAUGE, *key))
            if place is not None:
                self._numbers[place] = value

    def count_up_to(self, key: Key, total: float) -> None:
        """Counts by what somebody else in this worker has counted so far, in all."""
        with self._lock:
            place = self._place(key)
            if place is not None:
                self._numbers[place] += total - self._mirrored.get(key, 0.0)
                self._mirrored[key] = total

    def _place(self, key: Key) -> int | None:
        try:
            return self._places[key]
        except KeyError:
            place = self._places[key] = self.all._add(self._part, key)
            return place


def _whole(length: int) -> int:
    """The length with what fills it up to whole numbers."""
    return -(-length // _BYTES) * _BYTES


_inherited: OwnFigures | None = None


def inherit(own: OwnFigures) -> None:
    """Says which part is this process's; called by the server, in the worker."""
    global _inherited  # noqa: PLW0603  # one process has one part, whichever applications it makes
    _inherited = own


def own_figures() -> OwnFigures:
    """The part of this process; where no server gave it one, one that it has for itself."""
    return _inherited or WorkerFigures(1).own(0, os.getpid())
