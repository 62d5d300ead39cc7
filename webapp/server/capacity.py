"""How many turns and connections one worker can hold with the files it may open."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from webapp.server.connections import RESERVE

MOST_OPEN_FILES = 65_536
FEWEST_OPEN_FILES = 256
# The database, the limiter, the logs, the event loop and its threads.
OTHER_FILES = 128
FEWEST_CONNECTIONS = 1024
CONNECTIONS_A_TURN = 4


@dataclass(frozen=True, slots=True)
class Capacity:
    """The turns and connections that one worker holds; `turns` is the wanted number, or less."""

    turns: int
    connections: int


def capacity(turns: int, open_files: int) -> Capacity:
    """A turn takes two files, its client's connection and the model's. More connections than
    turns are needed: those that wait, read, or are silent."""
    left = open_files - OTHER_FILES - RESERVE
    held = max(1, min(turns, left // (CONNECTIONS_A_TURN + 1)))
    wanted = max(FEWEST_CONNECTIONS, CONNECTIONS_A_TURN * turns)
    return Capacity(held, max(1, min(wanted, left - held)))


def raise_open_files() -> int:
    """Lets this process and its workers open as many files as the system permits; how many.

    Many systems begin with 1024: half of a thousand turns would fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft == resource.RLIM_INFINITY:
        return MOST_OPEN_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
