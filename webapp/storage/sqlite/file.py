"""The SQLite file in the file system: identity, permissions, free space, truncation."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

FileIdentity = tuple[int, int] | None


def identity(path: str | Path) -> FileIdentity:
    """The identity of the file at the path; read before each use, which costs a microsecond.

    A connection goes on with its file when that was deleted or another was put in its place, and
    what is written then is lost with the last connection.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  # a Path makes its text first, each time
    except OSError:
        return None
    return status.st_dev, status.st_ino


def create_private(path: Path) -> None:
    """The file is for its owner alone: it holds what users said.

    SQLite gives the files beside it the same rights.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def free_bytes(path: Path) -> int:
    """The free bytes of the disk for this process."""
    status = os.statvfs(path.parent)
    return status.f_bavail * status.f_frsize


def require_not_emptied(path: Path) -> None:
    """Raises SQLite's error for a file that was cut to nothing while it was in use.

    SQLite takes it for a new one, and then waits for connections to the old one. The index of the
    log is made after the first page, so a file that is just being made has none.
    """
    try:
        emptied = path.stat().st_size == 0 and path.with_name(path.name + "-shm").exists()
    except OSError:
        return
    if emptied:
        error = sqlite3.DatabaseError("the file is empty and the index of its log is not")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
