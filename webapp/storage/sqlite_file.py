"""Opens SQLite files and reads SQLite's errors; units of work are in sqlite.py."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from webapp.errors import StorageUnavailable

Result = TypeVar("Result")

LOCK_PATIENCE_SECONDS = 5.0
LOCK_RETRY_SECONDS = 0.002
CACHE_KIB = 16 * 1024
MMAP_BYTES = 256 * 1024 * 1024
FileIdentity = tuple[int, int] | None


def identity(path: Path) -> FileIdentity:
    """Which file lies at the path; asked before each use, which costs a microsecond.

    A connection goes on with its file when that was deleted or another was put in its place, and
    what is written then is lost with the last connection.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=0,
        check_same_thread=False,  # handed from thread to thread, never used by two at once
        cached_statements=256,
    )
    try:
        # Whoever comes first makes the file, and SQLite does not let the others wait for that.
        patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def begin_immediate(connection: sqlite3.Connection, patience: float) -> None:
    """Takes the write lock, or gives up after `patience` seconds."""
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"), patience)


def patiently(work: Callable[[], Result], patience: float = LOCK_PATIENCE_SECONDS) -> Result:
    """Does `work` again while another holds the lock, sleeping here, where greenlets can go on."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_RETRY_SECONDS)


def create_private(path: Path) -> None:
    """The file is for its owner alone: it holds what users said."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise failure(error) from error


def failure(error: sqlite3.Error) -> StorageUnavailable:
    """A fresh error for each who gets it raised: a traceback belongs to one thread."""
    failure = StorageUnavailable(_sentence(error))
    failure.__cause__ = error
    return failure


def _primary_code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_BUSY


def _sentence(error: sqlite3.Error) -> str:
    return {
        sqlite3.SQLITE_BUSY: "The database is locked by another process; try again.",
        sqlite3.SQLITE_FULL: "The disk of the database is full; nothing was stored.",
        sqlite3.SQLITE_CORRUPT: "The database file is damaged; nothing was stored.",
        sqlite3.SQLITE_NOTADB: "The database file is damaged; nothing was stored.",
        sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened.",
        sqlite3.SQLITE_READONLY: "The database file cannot be written.",
    }.get(_primary_code(error), "The database could not do this.")
