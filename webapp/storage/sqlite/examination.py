"""Checks the integrity of a SQLite database within a time limit; repairs nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable


def faults(connection: sqlite3.Connection, *, seconds: float, thorough: bool = False) -> list[str]:
    """The faults of pages, indexes and references, a sentence each; empty when there are none.

    Without `thorough` indexes are not compared with their rows, and what takes longer than
    `seconds` is left.
    """
    pragma = "integrity_check(20)" if thorough else "quick_check(20)"
    found = _bounded(connection, f"PRAGMA {pragma}", None if thorough else seconds)
    sentences = [f"The database file is damaged: {row[0]}" for row in found if row[0] != "ok"]
    if sentences:
        return sentences
    found = _bounded(connection, "PRAGMA foreign_key_check", None if thorough else seconds)
    tables = sorted({str(row[0]) for row in found})
    return [f"Rows of {table} point at rows that are not there." for table in tables]


def quick_check(connection: sqlite3.Connection, seconds: float) -> bool:
    """Whether the structure is whole, as far as the time was enough to tell."""
    found = _bounded(connection, "PRAGMA quick_check(1)", seconds)
    return all(row[0] == "ok" for row in found)


def _bounded(
    connection: sqlite3.Connection, sql: str, seconds: float | None
) -> list[tuple[object, ...]]:
    """The rows of a statement; none when it was ended because its time was over."""
    if seconds is None:
        return connection.execute(sql).fetchall()
    over = _over(seconds)
    connection.set_progress_handler(over, 10_000)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:
        if over():
            return []
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _over(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline
