"""Puts a backup in the place of a SQLite database that nobody uses; what was there stays beside it.

Killed at any moment it leaves the old database or the new one, each whole: the new one is copied
beside the old one, examined there, and takes its name by one renaming.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from webapp.errors import NotFound, StorageUnavailable
from webapp.storage.sqlite import wal
from webapp.storage.sqlite.backup import Progress, last_on_disk
from webapp.storage.sqlite.examination import faults
from webapp.storage.sqlite.failures import is_busy
from webapp.storage.sqlite.file import free_bytes
from webapp.storage.sqlite.schema import schema_state
from webapp.storage.sqlite.turn_lines import anybody_stands_in_line
from webapp.storage.steps import in_the_way

MAGIC = b"SQLite format 3\x00"
CHUNK = 1024 * 1024
# The bytes that SQLite locks in a database file, whether they are there or not: every connection
# holds one of them for as long as it is open.
LOCKED_FROM, LOCKED_BYTES = 0x40000000, 512
IN_USE = (
    "A server or another program uses the database, so nothing was changed. Stop every server of it"
    " and try again."
)


def require_backup(source: Path, target: Path) -> None:
    """Raises when the file is plainly no backup; reads its first bytes alone."""
    try:
        if not source.is_file():
            raise NotFound(f"There is no file {source}.")
        if target.exists() and source.samefile(target):
            raise StorageUnavailable(f"{source} is the database itself.")
        with source.open("rb") as file:
            head = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(source, error) from error
    if not size:
        raise _refused(source, "is empty")
    if not head.startswith(MAGIC) or len(head) < 100:
        raise _refused(source, "is no SQLite database")
    page_bytes = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    if pages * (65536 if page_bytes == 1 else page_bytes) > size:
        raise _refused(source, "was cut short")
    if wal.wal_bytes(source):
        raise _refused(
            source,
            f"is a database in use, for {wal.wal_path(source).name} beside it holds a part of it",
        )


def require_unused(target: Path) -> None:
    """Raises `StorageUnavailable` when a server or another program uses the database there."""
    with _alone(target):
        pass


def restore(
    target: Path, source: Path, progress: Progress | None = None
) -> tuple[int, Path | None]:
    """Replaces the database; gives its bytes, and where the one before it lies.

    `StorageUnavailable`, and nothing, when the backup is not whole, of
    another application or a newer version, or when somebody uses the database."""
    require_backup(source, target)
    staged = target.with_name(f"{target.name}.restoring")
    with _staged(staged, source, progress) as size:
        _examine(staged, source)
        with _alone(target):
            kept = _put_in_place(staged, target)
    return size, kept


# -- the new one ------------------------------------------------------------------------------


@contextmanager
def _staged(staged: Path, source: Path, progress: Progress | None) -> Iterator[int]:
    """A private copy on the same disk, while nobody else restores; it is gone behind the block."""
    try:
        staged.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageUnavailable(f"{staged} cannot be made: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageUnavailable("Another restore is running.", part="locked") from None
        try:
            yield _copied(source, file, staged, progress)
        finally:
            for end in ("", "-journal", "-wal", "-shm"):
                staged.with_name(staged.name + end).unlink(missing_ok=True)
    finally:
        os.close(file)


def _copied(source: Path, file: int, staged: Path, progress: Progress | None) -> int:
    try:
        os.fchmod(file, 0o600)
        os.ftruncate(file, 0)
        with source.open("rb") as backup:
            size, done = os.fstat(backup.fileno()).st_size, 0
            if free_bytes(staged) < size:
                raise _full(staged)
            while chunk := backup.read(CHUNK):
                while chunk:
                    chunk = chunk[os.write(file, chunk) :]
                done = os.lseek(file, 0, os.SEEK_CUR)
                if progress is not None:
                    progress(done, max(size, done))
        os.fsync(file)
    except OSError as error:
        raise _unreadable(source, error) from error
    return done


def _examine(staged: Path, source: Path) -> None:
    """Whether it is a whole database of this application, and of no newer version."""
    try:
        with closing(sqlite3.connect(staged, isolation_level=None)) as connection:
            state = schema_state(connection)
            if state.empty:
                raise _refused(source, "is an empty database")
            if state.foreign:
                raise _refused(source, "is a database of another application")
            newer = in_the_way(state.unknown)
            if newer:
                raise _refused(
                    source,
                    f"was made by a newer version of Switchboard ({newer[-1]}); restore it"
                    " with that version or a newer one",
                )
            found = faults(connection, seconds=0, thorough=True)
            if found:
                raise _refused(source, f"is not whole: {found[0].rstrip('.')}")
            connection.execute("PRAGMA journal_mode = DELETE")
            wal.forget_link(connection)
        last_on_disk(staged)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise _full(staged) from error
        raise _refused(source, "is damaged") from error


# -- the old one ------------------------------------------------------------------------------


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Nobody else has the database open, nor can open it, during the block.

    Its log is in the file by then, unless it is damaged or the log is not its own.
    """
    if not target.exists():
        yield
        return
    if anybody_stands_in_line(target):
        raise StorageUnavailable(IN_USE, part="locked")
    merged = _merge_log(target)
    try:
        # SQLite must have no connection to it in this process: closing would let go of its locks.
        file = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StorageUnavailable(f"{target} cannot be written: {error.strerror}.") from error
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKED_BYTES, LOCKED_FROM)
        except OSError:
            raise StorageUnavailable(IN_USE, part="locked") from None
        if merged and wal.wal_bytes(target):
            raise StorageUnavailable(IN_USE, part="locked")
        yield
    finally:
        os.close(file)


def _merge_log(target: Path) -> bool:
    """Takes the log of a killed server into the file; False when that cannot be done."""
    if not wal.wal_bytes(target):
        return True
    try:
        wal.require_own(target)
        if not wal.is_readable(target):
            return False
        uri = f"{target.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
            if not wal.cut_off(connection):
                raise StorageUnavailable(IN_USE, part="locked")
        return True
    except StorageUnavailable as error:
        if error.part == "locked":
            raise
        return False
    except sqlite3.Error as error:
        if is_busy(error):
            raise StorageUnavailable(IN_USE, part="locked") from error
        return False


def _put_in_place(staged: Path, target: Path) -> Path | None:
    try:
        # Who restores as root must not take the database away from the server's own user.
        owner = (target if target.exists() else target.parent).stat()
        with suppress(PermissionError):
            os.chown(staged, owner.st_uid, owner.st_gid)
        kept = _keep(target)
        staged.rename(target)
        last_on_disk(target.parent)
    except OSError as error:
        raise StorageUnavailable(f"{target} cannot be replaced: {error.strerror}.") from error
    return kept


def _keep(target: Path) -> Path | None:
    """A second name for what is there, and for a log that could not be taken into it."""
    there = [end for end in ("", "-wal", "-journal") if _beside(target, end).exists()]
    kept = _free_name(target)
    for end in there:
        os.link(_beside(target, end), _beside(kept, end))
    for end in ("-wal", "-journal", "-shm"):
        _beside(target, end).unlink(missing_ok=True)
    last_on_disk(target.parent)
    return kept if there else None


def _free_name(target: Path) -> Path:
    name = f"{target.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    tries = (f"-{number}" if number else "" for number in range(1000))
    return next(path for end in tries if not (path := target.with_name(name + end)).exists())


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _refused(source: Path, fault: str) -> StorageUnavailable:
    return StorageUnavailable(f"{source} {fault}; nothing was changed.", part="foreign")


def _unreadable(source: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"{source} cannot be copied: {error.strerror}; nothing was changed.")


def _full(staged: Path) -> StorageUnavailable:
    return StorageUnavailable(
        f"The disk of {staged.parent} has no room for a second database beside the first; nothing"
        " was changed.",
        part="full",
    )
