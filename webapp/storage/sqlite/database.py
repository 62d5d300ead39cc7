"""SQLite: durable group commits, schema, long acts. Reading is in readers.py, the log in wal.py."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import sqlite_utils

from webapp.errors import SchemaOutOfDate, StorageUnavailable
from webapp.storage.group_commit import GroupCommit, Unit
from webapp.storage.native_thread import NativeThreads
from webapp.storage.sqlite import wal
from webapp.storage.sqlite.backup import Progress, back_up
from webapp.storage.sqlite.connecting import LOCK_PATIENCE_SECONDS, begin_immediate, connect
from webapp.storage.sqlite.doubts import doubts
from webapp.storage.sqlite.examination import faults, quick_check
from webapp.storage.sqlite.failures import failure, is_busy, is_fault, translated
from webapp.storage.sqlite.file import (
    FileIdentity,
    create_private,
    free_bytes,
    identity,
    require_whole_file,
)
from webapp.storage.sqlite.log_upkeep import LARGE_BYTES, LogUpkeep
from webapp.storage.sqlite.readers import Readers
from webapp.storage.sqlite.schema import SchemaState, require_current, require_ours, schema_state
from webapp.storage.sqlite.writability import SUSPECT_SECONDS, Writability

logger = logging.getLogger("switchboard.storage")

Result = TypeVar("Result")

LONG_READS = 3
READY_SECONDS = 2.0
EXAMINED_AGAIN_SECONDS = 10.0
# Behind a full disk a try must be as large as a turn may be, or it says yes too early.
LARGE_TRIAL_BYTES = 128 * 1024
SCARCE_BYTES = 1024 * 1024
EXAMINATION_SECONDS = 10.0
EMPTYING_TRIES = 10


class SQLiteDatabase:
    """One SQLite file in WAL mode with `synchronous=FULL`.

    Writes go through one connection in `BEGIN IMMEDIATE` (a deferred one fails under contention
    in spite of a busy timeout). Waiting for another process's lock is done here by short sleeps,
    not inside SQLite, where it would stop every greenlet of the process; waiting for the disk is
    left to native threads for the same reason, because nobody knows beforehand how long it takes.
    """

    def __init__(self, path: Path, *, lock_patience: float = LOCK_PATIENCE_SECONDS) -> None:
        """`lock_patience` is how many seconds a write waits for another process's."""
        self.path = path.absolute()
        self.url = f"sqlite:///{self.path}"
        self._lock_patience = lock_patience
        self._state = Writability(self._try_write)
        self._readers = Readers(self.path, examine=self._examine, damaged=self._state.failed)
        self._writer: sqlite3.Connection | None = None
        self._writer_file: FileIdentity = None
        self._examined: FileIdentity = None
        self._log = LogUpkeep(self.path)
        self._writing = NativeThreads(1)
        self._reading = NativeThreads(LONG_READS)
        self._examined_again_at = 0.0
        self._commits = GroupCommit(self._run_batch)

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._readers.read()

    def read_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self.read() as connection:
                return work(connection)

        return self._reading.run(run)

    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = self._commits.submit(work)
        return result

    def write_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = self._commits.submit(work, long=True)
        return result

    def require_writable(self) -> None:
        self._state.require(self._lock_patience + SUSPECT_SECONDS)

    def require_ready(self) -> None:
        self.check()
        self._state.require(min(READY_SECONDS, self._lock_patience))

    def upgrade(self) -> list[str]:
        from webapp.storage.sqlite.migrations import migrations

        try:
            # For its owner alone as well, unless it is there already.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private(self.path)
        except OSError as error:
            raise StorageUnavailable("The database file cannot be created.") from error
        self._examine(identity(self.path))
        with translated(), self._schema_connection() as connection:
            wal.cut_off(connection)
            begin_immediate(connection, self._lock_patience)
            try:
                state = schema_state(connection)
                require_ours(state, self.path)
                if state.pending:
                    migrations.apply(sqlite_utils.Database(connection))
                    wal.note_schema_change(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            wal.cut_off(connection)
            return list(state.pending)

    def pending_migrations(self) -> list[str]:
        return list(self._schema_state().pending)

    def check(self) -> None:
        if not self.path.exists():
            raise SchemaOutOfDate("The database does not exist yet; run: switchboard db upgrade.")
        require_current(self._schema_state(), self.path)

    def back_up(self, target: Path, progress: Progress | None = None) -> int:
        self.check()
        return self._reading.run(lambda: back_up(self.path, target.absolute(), progress))

    def compact(self) -> None:
        def run() -> None:
            with translated(), self._schema_connection() as connection:
                connection.execute("PRAGMA busy_timeout = 5000")  # a thread of its own may wait
                connection.execute("VACUUM")
                wal.note_schema_change(connection)
                # The old pages lie in the write-ahead log until it is emptied.
                if not wal.cut_off(connection):
                    raise StorageUnavailable("The database is in use; try again.", part="locked")

        self._writing.run(run)

    def examine(self, *, thorough: bool = False) -> list[str]:
        return self.read_long(
            lambda connection: faults(connection, seconds=EXAMINATION_SECONDS, thorough=thorough)
        )

    def doubts(self) -> list[str]:
        return doubts(self.path)

    def empty_log(self) -> bool:
        for attempt in range(EMPTYING_TRIES):
            if wal.wal_bytes(self.path) == 0:
                return True
            if attempt:
                time.sleep(0.05)  # a reader was in the way, and reads are short
            self._log.wanted = True
            self.write_long(lambda _connection: None)
        return wal.wal_bytes(self.path) == 0

    def shrink_log(self) -> None:
        if wal.wal_bytes(self.path) >= LARGE_BYTES:
            self._log.wanted = True
            self.write_long(lambda _connection: None)

    def close(self) -> None:
        self._readers.close()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            self._log.empty(writer)
        except sqlite3.Error as error:
            logger.warning("log_not_emptied", extra={"cause": failure(error).part})
        writer.close()

    # -- the write side -------------------------------------------------------------------------

    def _run_batch(self, units: list[Unit]) -> BaseException | None:
        try:
            writer = self._writer_connection()
            # A unit that waited behind a batch that got no lock has used up its patience there.
            waited = time.monotonic() - min(unit.arrived for unit in units)
            patience = SUSPECT_SECONDS / 2 if self._state.suspect else self._lock_patience
            begin_immediate(writer, patience - waited)
        except sqlite3.Error as error:
            if not is_busy(error):
                self._drop_writer()
            self._all_failed(units, error)
            return None
        except StorageUnavailable as error:
            self._all_failed(units, error)
            return None
        late: BaseException | None = None
        try:
            if any(unit.long for unit in units):
                self._state.long_act(running=True)
                try:
                    self._writing.run(lambda: self._run_transaction(writer, units, _commit))
                finally:
                    self._state.long_act(running=False)
            else:
                late = self._run_transaction(writer, units, self._commit_beside)
        except BaseException:
            # This greenlet is being ended, and its units are told so. The thread may go on: the
            # connection is left to it, by which it sees that it has to take everything back.
            self._writer = None
            raise
        if self._writer is writer and self._log.due:
            late = self._keep_log(writer) or late
        return late

    def _commit_beside(self, writer: sqlite3.Connection) -> BaseException | None:
        """Commits in a native thread: a disk that stalls must not stop the other greenlets."""
        return self._writing.run_to_its_end(lambda: _commit(writer))

    def _keep_log(self, writer: sqlite3.Connection) -> BaseException | None:
        """The batch is stored whatever becomes of this."""
        try:
            return self._writing.run_to_its_end(lambda: self._log.run(writer))
        except sqlite3.Error as error:
            if not is_busy(error):
                logger.warning("log_not_emptied", extra={"cause": failure(error).part})
                self._drop_writer()
            return None

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
            late = commit(writer)
            self._note_outcome(units)
            return late
        except sqlite3.Error as error:
            self._all_failed(units, error)
            return None
        finally:
            if writer.in_transaction:
                self._roll_back(writer)

    def _note_outcome(self, units: list[Unit]) -> None:
        faults = [unit.error for unit in units if unit.fault]
        if faults and isinstance(faults[0], StorageUnavailable):
            self._state.failed(faults[0])
        else:
            self._state.came_through()

    def _all_failed(self, units: list[Unit], error: sqlite3.Error | StorageUnavailable) -> None:
        for unit in units:
            unit.error = unit.error or failure(error)
        self._state.failed(failure(error))

    def _roll_back(self, writer: sqlite3.Connection) -> None:
        try:
            writer.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing rolls back as well, and the next batch opens a new connection.
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
            self._examine(file)
            self._writer = connect(self.path)
            # A page written out early would be written on the way of every greenlet.
            self._writer.execute("PRAGMA cache_spill = OFF")
            self._writer_file = file
        return self._writer

    # -- whether it can be used -----------------------------------------------------------------

    def _examine(self, file: FileIdentity) -> None:
        """Once for each file that lies there: is the log beside it its own?"""
        if file is not None and file != self._examined:
            wal.require_own(self.path)
            self._examined = file

    def _try_write(self) -> None:
        """A small write that lasts, for `Writability`."""
        fault = self._state.fault
        if fault is not None and fault.part == "damaged":
            self._require_mended(fault)
        small = fault is None and self._state.proven and free_bytes(self.path) > SCARCE_BYTES
        size = 16 if small else LARGE_TRIAL_BYTES

        def work(connection: sqlite3.Connection) -> None:
            require_whole_file(self.path)
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('write_trial', randomblob(:size))"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                {"size": size},
            )

        self.write(work)

    def _require_mended(self, fault: StorageUnavailable) -> None:
        """A damaged file may take writes, which makes it worse: it is examined before the next."""
        if time.monotonic() < self._examined_again_at:
            raise fault
        self._readers.close()
        whole = False
        try:
            whole = self.read_long(lambda connection: quick_check(connection, wal.EXAMINE_SECONDS))
        finally:
            if not whole:
                self._examined_again_at = time.monotonic() + EXAMINED_AGAIN_SECONDS
        if not whole:
            raise fault
        self._drop_writer()

    def _schema_state(self) -> SchemaState:
        with translated(), self.read() as connection:
            return schema_state(connection)

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
        unit.fault = is_fault(error)
        if not writer.in_transaction:
            # SQLite takes everything back by itself when the disk is full or fails.
            raise
    except BaseException as error:  # noqa: BLE001
        # Whatever it is, it belongs to the unit's own caller, who gets it raised.
        unit.error = error
    if unit.error is not None:
        writer.execute("ROLLBACK TO unit")
    writer.execute("RELEASE unit")
