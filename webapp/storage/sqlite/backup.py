"""Copies a SQLite database into one file while it is in use, and examines the copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from webapp.errors import Conflict, NotFound, StorageUnavailable
from webapp.storage.sqlite.connecting import connect
from webapp.storage.sqlite.examination import faults
from webapp.storage.sqlite.failures import translated
from webapp.storage.sqlite.wal import forget_link

PAGES_AT_ONCE = 1024
Progress = Callable[[int, int], None]


def back_up(source: Path, target: Path, progress: Progress | None = None) -> int:
    """Makes `target` as the database is at this moment, for its owner alone; gives its bytes.

    Turns go on meanwhile. The file has its name only once it is whole and on disk; one that is
    there already is never overwritten (`Conflict`). `progress` is told of pages done and of all.
    """
    if target.exists():
        raise Conflict(f"{target} is there already; name another file.")
    if not target.parent.is_dir():
        raise NotFound(f"There is no folder {target.parent}.")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            with _room_for(target), translated():
                _copy(source, unfinished, progress)
            last_on_disk(unfinished)
            os.link(unfinished, target)  # unlike a renaming, it never takes another file's place
        finally:
            unfinished.unlink(missing_ok=True)
        last_on_disk(target.parent)
    except FileExistsError:
        raise Conflict(f"{target} is there already; name another file.") from None
    except OSError as error:
        raise StorageUnavailable(f"{target} cannot be written: {error.strerror}.") from error
    return target.stat().st_size


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """It is the copy's disk that is full: nothing is written to the database."""
    try:
        yield
    except StorageUnavailable as error:
        if error.part == "full":
            raise StorageUnavailable(
                f"The disk of {target.parent} is full; no backup was made.", part="full"
            ) from error
        raise


def _copy(source: Path, target: Path, progress: Progress | None) -> None:
    def told(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with closing(connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.execute("BEGIN")
        live.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # from here on one moment
        live.backup(copy, pages=PAGES_AT_ONCE, progress=told)
        copy.execute("PRAGMA journal_mode = DELETE")
        forget_link(copy)
        copy.commit()
        found = faults(copy, seconds=0, thorough=True)
    if found:
        raise StorageUnavailable(f"The copy is not whole, so it was not kept: {found[0]}")


def last_on_disk(path: Path) -> None:
    """Returns when the file, or the names in the folder, would outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
