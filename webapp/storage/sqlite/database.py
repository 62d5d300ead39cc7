"""SQLite: schema, reads, checks of the file. Writing is in writer.py, reading in readers.py."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import sqlite_utils

from webapp.errors import SchemaOutOfDate, StorageUnavailable
from webapp.storage.native_thread import NativeThreads
from webapp.storage.sqlite import wal
from webapp.storage.sqlite.backup import Progress, back_up
from webapp.storage.sqlite.connecting import LOCK_PATIENCE_SECONDS, begin_immediate, connect
from webapp.storage.sqlite.doubts import doubts
from webapp.storage.sqlite.examination import faults, quick_check
from webapp.storage.sqlite.failures import translated
from webapp.storage.sqlite.file import (
    FileIdentity,
    create_private,
    free_bytes,
    identity,
)
from webapp.storage.sqlite.log_upkeep import LARGE_BYTES
from webapp.storage.sqlite.readers import Readers
from webapp.storage.sqlite.schema import (
    SchemaState,
    missing_parts,
    require_current,
    require_ours,
    schema_state,
)
from webapp.storage.sqlite.writer import Writer
from webapp.storage.writability import SUSPECT_SECONDS, Writability

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
        self._examined: FileIdentity = None
        self._reading = NativeThreads(LONG_READS)
        self._examined_again_at = 0.0
        self._writer = Writer(self.path, lock_patience, self._state, self._examine)

    def read(self, asks: object = None) -> AbstractContextManager[sqlite3.Connection]:  # noqa: ARG002  # for servers
        return self._readers.read()

    def read_each(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._readers.read(one_moment=False)

    def read_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self.read() as connection:
                return work(connection)

        return self._reading.run(run)

    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return self._writer.submit(work)

    def write_long(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return self._writer.submit(work, long=True)

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

        self._writer.run_beside(run)

    def examine(self, *, thorough: bool = False) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            found = faults(connection, seconds=EXAMINATION_SECONDS, thorough=thorough)
            if found or not thorough:
                return found
            missing = missing_parts(connection)
            return [f"The schema lacks: {', '.join(missing)}."] if missing else []

        return self.read_long(work)

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def doubts(self) -> list[str]:
        return doubts(self.path)

    def empty_log(self) -> bool:
        for attempt in range(EMPTYING_TRIES):
            if wal.wal_bytes(self.path) == 0:
                return True
            if attempt:
                time.sleep(0.05)  # a reader was in the way, and reads are short
            self._writer.log.wanted = True
            self.write_long(lambda _connection: None)
        return wal.wal_bytes(self.path) == 0

    def shrink_log(self) -> None:
        if wal.wal_bytes(self.path) >= LARGE_BYTES:
            self._writer.log.wanted = True
            self.write_long(lambda _connection: None)

    def close(self) -> None:
        self._readers.close()
        self._writer.close()

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
            wal.require_whole_file(self.path)
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
        self._writer.drop()

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
