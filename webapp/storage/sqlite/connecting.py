"""Makes connections to a SQLite file and waits for its lock; what is done with them is not here."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from webapp.storage.sqlite.failures import is_busy
from webapp.storage.sqlite.file import require_not_emptied
from webapp.storage.sqlite.schema import require_ours, schema_state

Result = TypeVar("Result")

LOCK_PATIENCE_SECONDS = 5.0
LOCK_RETRY_SECONDS = 0.002
CACHE_KIB = 16 * 1024
WAL_KEPT_BYTES = 16 * 1024 * 1024


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    if not create:
        require_not_emptied(path)
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
        _use_log(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Mapped memory would end the whole process when somebody cuts the file short.
        connection.execute("PRAGMA mmap_size = 0")
        # What was deleted is overwritten, however this SQLite was built.
        connection.execute("PRAGMA secure_delete = ON")
        # The log is emptied by log_upkeep.py, in a thread of its own, never inside a commit.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    """The mode is kept in the file, so another application's file is asked about it only."""
    # The first process makes the file, and SQLite does not let the others wait for that.
    mode = patiently(lambda: connection.execute("PRAGMA journal_mode").fetchone()[0])
    if mode != "wal":
        require_ours(patiently(lambda: schema_state(connection)), path)
        patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))


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
