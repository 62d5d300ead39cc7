"""Runs long acts in short transactions, so that other writers get in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from webapp.storage.database import Connection, Database

Part = TypeVar("Part")

# About ten milliseconds of work.
ROWS = 2000
LONGEST_PAUSE_SECONDS = 0.02


def in_slices(
    database: Database, step: Callable[[Connection], Part], unfinished: Callable[[Part], bool]
) -> Iterator[Part]:
    """Runs `step` in a transaction of its own until it says that it is finished; gives each part.

    Between two it rests as long as the last one took: another process that waits for the lock
    looks for it from time to time only, and would find it taken again.
    """
    while True:
        began = time.monotonic()
        part = database.write_long(step)
        yield part
        if not unfinished(part):
            return
        time.sleep(min(time.monotonic() - began, LONGEST_PAUSE_SECONDS))
