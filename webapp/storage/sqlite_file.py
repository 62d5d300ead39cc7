"""Opens SQLite files and reads SQLite's errors; units of work are in sqlite.py."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from webapp.errors import StorageUnavailable
from webapp.storage.schema import require_ours, schema_state

Result = TypeVar("Result")

LOCK_PATIENCE_SECONDS = 5.0
LOCK_RETRY_SECONDS = 0.002
CACHE_KIB = 16 * 1024
WAL_KEPT_BYTES = 16 * 1024 * 1024
# Before this version a log that was just emptied could be read wrongly by a second process.
SOUND_WITH_SEVERAL = (3, 51, 3)
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
        # The log is emptied by sqlite.py, in a thread of its own, never inside a commit.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    """The mode is kept in the file, so another application's file is asked about it only."""
    # Whoever comes first makes the file, and SQLite does not let the others wait for that.
    mode = patiently(lambda: connection.execute("PRAGMA journal_mode").fetchone()[0])
    if mode != "wal":
        require_ours(patiently(lambda: schema_state(connection)), path)
        patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))


def require_not_emptied(path: Path) -> None:
    """Raises SQLite's error for a file that was cut to nothing while it was in use.

    SQLite takes it for a new one, and then waits for whoever is still connected to the old one.
    The index of the log is made after the first page, so a file that is just being made has none.
    """
    try:
        emptied = path.stat().st_size == 0 and path.with_name(path.name + "-shm").exists()
    except OSError:
        return
    if emptied:
        error = sqlite3.DatabaseError("the file is empty and the index of its log is not")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


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
    """The file is for its owner alone: it holds what users said.

    SQLite gives the files beside it the same rights.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def free_bytes(path: Path) -> int:
    """What the disk has left for this process."""
    status = os.statvfs(path.parent)
    return status.f_bavail * status.f_frsize


def processes_that_use(path: Path) -> set[int]:
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


def fault_with_several_processes() -> str | None:
    """What is wrong with this SQLite when several processes write; None when nothing is."""
    if sqlite3.sqlite_version_info >= SOUND_WITH_SEVERAL:
        return None
    needed = ".".join(map(str, SOUND_WITH_SEVERAL))
    return (
        f"SQLite {sqlite3.sqlite_version} has a fault in its log that {needed} mends; run one"
        " worker, or a Python with that SQLite."
    )


def require_whole_file(path: Path) -> None:
    """Raises SQLite's error when the file itself was cut short or overwritten at its beginning.

    The connections that are kept go on with what they remember of it, so a new one looks, and at
    the file alone. Another process that is writing pages at its end may be in between.
    """
    require_not_emptied(path)
    for attempt in range(3):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
                connection.execute("PRAGMA schema_version").fetchone()
                return
        except sqlite3.DatabaseError:
            if attempt == 2:
                raise
        time.sleep(0.1)


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
