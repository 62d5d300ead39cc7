"""SQLite: connections, durable group commits, long reads. The schema is in migrations.py."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlite_utils

from webapp.errors import SchemaOutOfDate, StorageUnavailable
from webapp.storage.group_commit import GroupCommit, Unit
from webapp.storage.native_thread import in_native_thread

Result = TypeVar("Result")

LOCK_PATIENCE_SECONDS = 5.0
LOCK_RETRY_SECONDS = 0.002
CACHE_KIB = 16 * 1024
MMAP_BYTES = 256 * 1024 * 1024
KEPT_READERS = 8


class SQLiteDatabase:
    """One SQLite file in WAL mode with `synchronous=FULL`.

    Writes go through one connection in `BEGIN IMMEDIATE` (a deferred one fails under contention
    in spite of a busy timeout). Waiting for another process's lock is done here by short sleeps,
    not inside SQLite, where it would stop every greenlet of the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.url = f"sqlite:///{self.path}"
        self._lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._commits: GroupCommit[Unit] = GroupCommit(self._run_batch)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        connection = self._take_reader()
        try:
            with _translated():
                connection.execute("BEGIN")
                yield connection
        finally:
            self._give_back(connection)

    def read_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self.read() as connection:
                return work(connection)

        return in_native_thread(run)

    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = self._commits.submit(work)
        return result

    def upgrade(self) -> list[str]:
        from webapp.storage.migrations import migrations

        self.path.parent.mkdir(parents=True, exist_ok=True)
        _create_private(self.path)
        with _translated(), self._schema_connection() as connection:
            _begin_immediate(connection)
            try:
                database = sqlite_utils.Database(connection)
                steps = [step.name for step in migrations.pending(database)]
                if steps:
                    migrations.apply(database)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return steps

    def pending_migrations(self) -> list[str]:
        from webapp.storage.migrations import migrations

        with _translated(), self.read() as connection:
            database = sqlite_utils.Database(connection, execute_plugins=False)
            return [step.name for step in migrations.pending(database)]

    def check(self) -> None:
        if not self.path.exists():
            raise SchemaOutOfDate("The database does not exist yet; run: switchboard db upgrade.")
        if self.pending_migrations():
            raise SchemaOutOfDate("The database's schema is old; run: switchboard db upgrade.")

    def close(self) -> None:
        with self._lock:
            connections = [*self._readers, self._writer]
            self._readers, self._writer = [], None
        for connection in connections:
            if connection is not None:
                connection.close()

    # -- the write side -------------------------------------------------------------------------

    def _run_batch(self, units: list[Unit]) -> None:
        try:
            with _translated():
                writer = self._writer_connection()
                _begin_immediate(writer)
        except StorageUnavailable as error:
            for unit in units:
                unit.error = error
            return
        try:
            for unit in units:
                _run_unit(writer, unit)
                if not writer.in_transaction:
                    # SQLite rolls everything back by itself when the disk is full or fails.
                    raise sqlite3.OperationalError("the transaction was rolled back")
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            failure = StorageUnavailable(_sentence(error))
            failure.__cause__ = error
            for unit in units:
                unit.error = unit.error or failure
        finally:
            if writer.in_transaction:
                writer.execute("ROLLBACK")

    def _writer_connection(self) -> sqlite3.Connection:
        # Only the leader of a batch comes here, so one connection is enough and never shared.
        if self._writer is None:
            self._writer = _connect(self.path)
        return self._writer

    # -- the read side --------------------------------------------------------------------------

    def _take_reader(self) -> sqlite3.Connection:
        with self._lock:
            if self._readers:
                return self._readers.pop()
        with _translated():
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if len(self._readers) < KEPT_READERS:
                self._readers.append(connection)
                return
        connection.close()

    @contextmanager
    def _schema_connection(self) -> Iterator[sqlite3.Connection]:
        connection = _connect(self.path, create=True)
        try:
            yield connection
        finally:
            connection.close()


def _run_unit(writer: sqlite3.Connection, unit: Unit) -> None:
    writer.execute("SAVEPOINT unit")
    try:
        unit.result = unit.work(writer)
        unit.finished = True
    except sqlite3.Error as error:
        unit.error = StorageUnavailable(_sentence(error))
        unit.error.__cause__ = error
    except BaseException as error:  # noqa: BLE001
        # Whatever it is, it belongs to the unit's own caller, who gets it raised.
        unit.error = error
    if unit.error is not None and writer.in_transaction:
        writer.execute("ROLLBACK TO unit")
    if writer.in_transaction:
        writer.execute("RELEASE unit")


def _connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=0,
        check_same_thread=False,  # handed from thread to thread, never used by two at once
        cached_statements=256,
    )
    connection.execute("PRAGMA busy_timeout = 1000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    return connection


def _begin_immediate(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_RETRY_SECONDS)


def _create_private(path: Path) -> None:
    """The file is for its owner alone: it holds what users said."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailable(_sentence(error)) from error


def _sentence(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    return {
        sqlite3.SQLITE_BUSY: "The database is locked by another process; try again.",
        sqlite3.SQLITE_FULL: "The disk of the database is full; nothing was stored.",
        sqlite3.SQLITE_CORRUPT: "The database file is damaged; nothing was stored.",
        sqlite3.SQLITE_NOTADB: "The database file is damaged; nothing was stored.",
        sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened.",
        sqlite3.SQLITE_READONLY: "The database file cannot be written.",
    }.get(primary if primary is not None else -1, "The database could not do this.")
