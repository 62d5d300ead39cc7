"""What SQLite's errors mean, as the errors that the rest of the house knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.errors import StorageUnavailable


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise failure(error) from error


def failure(error: sqlite3.Error | StorageUnavailable) -> StorageUnavailable:
    """A fresh error for each who gets it raised: a traceback belongs to one thread."""
    if isinstance(error, StorageUnavailable):
        return StorageUnavailable(error.message, code=error.code, part=error.part)
    part, sentence = _MEANINGS.get(_primary_code(error), _OTHER)
    failure = StorageUnavailable(sentence, part=part)
    failure.__cause__ = error
    return failure


def is_fault(error: sqlite3.Error) -> bool:
    """Whether the database itself is at fault, and not the statement that it was given."""
    return _primary_code(error) in _MEANINGS


def _primary_code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_BUSY


_OTHER = ("unavailable", "The database could not do this.")
_MEANINGS = {
    sqlite3.SQLITE_BUSY: ("locked", "The database is locked by another process; try again."),
    sqlite3.SQLITE_FULL: ("full", "The disk of the database is full; nothing was stored."),
    sqlite3.SQLITE_CORRUPT: ("damaged", "The database file is damaged; nothing was stored."),
    sqlite3.SQLITE_NOTADB: ("damaged", "The database file is damaged; nothing was stored."),
    sqlite3.SQLITE_CANTOPEN: ("unavailable", "The database file cannot be opened."),
    sqlite3.SQLITE_READONLY: ("read_only", "The database file cannot be written."),
    sqlite3.SQLITE_IOERR: ("unavailable", "The disk of the database failed."),
}
