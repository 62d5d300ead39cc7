"""Warnings about a SQLite file that works: its permissions, and other processes that use it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

# Before this version a log that was just emptied could be read wrongly by a second process.
SOUND_WITH_SEVERAL = (3, 51, 3)


def doubts(path: Path) -> list[str]:
    """A sentence each; empty when there are none."""
    found = []
    if path.stat().st_mode & 0o077:
        found.append(f"others than its owner may read {path}; chmod 600 it.")
    fault = _fault_with_several_processes() if len(_processes_that_use(path)) > 1 else None
    if fault is not None:
        found.append(f"several processes use it, and {fault}")
    return found


def _fault_with_several_processes() -> str | None:
    """The fault of this SQLite version when several processes write; None when there is none."""
    if sqlite3.sqlite_version_info >= SOUND_WITH_SEVERAL:
        return None
    needed = ".".join(map(str, SOUND_WITH_SEVERAL))
    return (
        f"SQLite {sqlite3.sqlite_version} has a fault in its log that {needed} mends; run one"
        " worker, or a Python with that SQLite."
    )


def _processes_that_use(path: Path) -> set[int]:
    """The other processes with the database open, as far as the kernel tells (Linux does).

    Each of them holds a lock on the index of the log as long as it is connected.
    """
    try:
        index = path.with_name(path.name + "-shm").stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[5].rpartition(":")[2] == str(index):
            found.add(int(fields[4]))
    return found - {os.getpid(), -1}
