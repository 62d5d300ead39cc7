"""SQLite: connections, durable group commits, long reads. The schema is in migrations.py."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlite_utils

from webapp.errors import SchemaOutOfDate, StorageUnavailable
from webapp.storage.group_commit import GroupCommit, Unit
from webapp.storage.native_thread import in_native_thread, to_its_end
from webapp.storage.sqlite_file import (
    LOCK_PATIENCE_SECONDS,
    FileIdentity,
    begin_immediate,
    connect,
    create_private,
    failure,
    identity,
    is_busy,
    translated,
)

Result = TypeVar("Result")


KEPT_READERS = 8
FAST_FLUSH_SECONDS = 0.001


class SQLiteDatabase:
    """One SQLite file in WAL mode with `synchronous=FULL`.

    Writes go through one connection in `BEGIN IMMEDIATE` (a deferred one fails under contention
    in spite of a busy timeout). Waiting for another process's lock is done here by short sleeps,
    not inside SQLite, where it would stop every greenlet of the process.
    """

    def __init__(self, path: Path, *, lock_patience: float = LOCK_PATIENCE_SECONDS) -> None:
        """`lock_patience` is how many seconds a write waits for another process's."""
        self.path = path.absolute()
        self.url = f"sqlite:///{self.path}"
        self._readers: list[sqlite3.Connection] = []
        self._readers_file: FileIdentity = None
        self._writer: sqlite3.Connection | None = None
        self._writer_file: FileIdentity = None
        self._lock_patience = lock_patience
        self._flush_seconds = FAST_FLUSH_SECONDS  # of late; nothing is known at first
        self._commits = GroupCommit(self._run_batch)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        connection, file = self._take_reader()
        try:
            with translated():
                connection.execute("BEGIN")
                yield connection
        except StorageUnavailable:
            connection.close()  # the next reader shall not inherit what went wrong
            raise
        except BaseException:
            self._give_back(connection, file)
            raise
        self._give_back(connection, file)

    def read_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self.read() as connection:
                return work(connection)

        return in_native_thread(run)

    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = self._commits.submit(work)
        return result

    def write_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = self._commits.submit(work, long=True)
        return result

    def upgrade(self) -> list[str]:
        from webapp.storage.migrations import migrations

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_private(self.path)
        except OSError as error:
            raise StorageUnavailable("The database file cannot be created.") from error
        with translated(), self._schema_connection() as connection:
            begin_immediate(connection, self._lock_patience)
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

        with translated(), self.read() as connection:
            database = sqlite_utils.Database(connection, execute_plugins=False)
            return [step.name for step in migrations.pending(database)]

    def check(self) -> None:
        if not self.path.exists():
            raise SchemaOutOfDate("The database does not exist yet; run: switchboard db upgrade.")
        if self.pending_migrations():
            raise SchemaOutOfDate("The database's schema is old; run: switchboard db upgrade.")

    def compact(self) -> None:
        def run() -> None:
            with translated(), self._schema_connection() as connection:
                connection.execute("PRAGMA busy_timeout = 5000")  # a thread of its own may wait
                connection.execute("VACUUM")
                # The old pages lie in the write-ahead log until it is emptied.
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise StorageUnavailable("The database is in use; try again.")

        in_native_thread(run)

    def close(self) -> None:
        connections = [*self._readers, self._writer]
        self._readers, self._writer = [], None
        for connection in connections:
            if connection is not None:
                connection.close()

    # -- the write side -------------------------------------------------------------------------

    def _run_batch(self, units: list[Unit]) -> BaseException | None:
        try:
            writer = self._writer_connection()
            # Whoever waited behind a batch that waited in vain has used up its patience there.
            waited = time.monotonic() - min(unit.arrived for unit in units)
            begin_immediate(writer, self._lock_patience - waited)
        except sqlite3.Error as error:
            if not is_busy(error):
                self._drop_writer()
            for unit in units:
                unit.error = failure(error)
            return None
        try:
            if any(unit.long for unit in units):
                in_native_thread(lambda: self._run_transaction(writer, units, _commit))
                return None
            return self._run_transaction(writer, units, self._commit_beside)
        except BaseException:
            # This greenlet is being ended, and its units are told so. The thread may go on: the
            # connection is left to it, by which it sees that it has to take everything back.
            self._writer = None
            raise

    def _commit_beside(self, writer: sqlite3.Connection) -> BaseException | None:
        """Commits where it costs least, by how long the disk took lately.

        A fast disk is flushed sooner than another thread is woken; a slow one must not stop the
        other greenlets for so long.
        """
        began = time.monotonic()
        interruption: BaseException | None = None
        if self._flush_seconds < FAST_FLUSH_SECONDS:
            _commit(writer)
        else:
            interruption = to_its_end(lambda: _commit(writer))
        self._flush_seconds += (time.monotonic() - began - self._flush_seconds) / 16
        return interruption

    def _run_transaction(
        self,
        writer: sqlite3.Connection,
        units: list[Unit],
        commit: Callable[[sqlite3.Connection], BaseException | None],
    ) -> BaseException | None:
        try:
            for unit in units:
                _run_unit(writer, unit)
            if self._writer is not writer:
                raise sqlite3.OperationalError("the connection was given up meanwhile")
            return commit(writer)
        except sqlite3.Error as error:
            for unit in units:
                unit.error = unit.error or failure(error)
            return None
        finally:
            if writer.in_transaction:
                self._roll_back(writer)

    def _roll_back(self, writer: sqlite3.Connection) -> None:
        try:
            writer.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing rolls back as well, and the next batch opens anew.
            if self._writer is writer:
                self._writer = None
            writer.close()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _writer_connection(self) -> sqlite3.Connection:
        # Only the leader of a batch comes here, so one connection is enough and never shared.
        file = identity(self.path)
        if file != self._writer_file:
            self._drop_writer()
        if self._writer is None:
            self._writer = connect(self.path)
            self._writer_file = file
        return self._writer

    # -- the read side --------------------------------------------------------------------------

    # Taking from a list and putting back are atomic; a lock here would be one of greenlets, which
    # does not reach into the native threads of long reads.

    def _take_reader(self) -> tuple[sqlite3.Connection, FileIdentity]:
        file = identity(self.path)
        if file != self._readers_file:
            stale, self._readers, self._readers_file = self._readers, [], file
            for connection in stale:
                connection.close()
        try:
            return self._readers.pop(), file
        except IndexError:
            pass
        with translated():
            connection = connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            return connection, file

    def _give_back(self, connection: sqlite3.Connection, file: FileIdentity) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        if len(self._readers) < KEPT_READERS and file == self._readers_file:
            self._readers.append(connection)
        else:
            connection.close()

    @contextmanager
    def _schema_connection(self) -> Iterator[sqlite3.Connection]:
        connection = connect(self.path, create=True)
        try:
            yield connection
        finally:
            connection.close()


def _commit(writer: sqlite3.Connection) -> None:
    writer.execute("COMMIT")


def _run_unit(writer: sqlite3.Connection, unit: Unit) -> None:
    """Runs one unit behind a savepoint; raises when the whole transaction is lost."""
    writer.execute("SAVEPOINT unit")
    try:
        unit.result = unit.work(writer)
    except sqlite3.Error as error:
        unit.error = failure(error)
        if not writer.in_transaction:
            # SQLite takes everything back by itself when the disk is full or fails.
            raise
    except BaseException as error:  # noqa: BLE001
        # Whatever it is, it belongs to the unit's own caller, who gets it raised.
        unit.error = error
    if unit.error is not None:
        writer.execute("ROLLBACK TO unit")
    writer.execute("RELEASE unit")
