"""The one connection of a process that writes, and the batches that share its commits."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from webapp.errors import StorageUnavailable
from webapp.storage.group_commit import GroupCommit, Unit
from webapp.storage.native_thread import NativeThreads
from webapp.storage.sqlite.connecting import begin_immediate, connect
from webapp.storage.sqlite.failures import failure, is_busy, is_fault
from webapp.storage.sqlite.file import FileIdentity, identity
from webapp.storage.sqlite.log_upkeep import LogUpkeep
from webapp.storage.writability import SUSPECT_SECONDS, Writability

logger = logging.getLogger("switchboard.storage")

Result = TypeVar("Result")


class Writer:
    """Runs units of work in `BEGIN IMMEDIATE`, those that are ready together in one transaction."""

    def __init__(
        self,
        path: Path,
        patience: float,
        state: Writability,
        examine: Callable[[FileIdentity], None],
    ) -> None:
        """`state` is told how each batch ended; `examine` is asked before a file is opened."""
        self._path, self._name = path, str(path)
        self._patience = patience
        self._state = state
        self._examine = examine
        self._connection: sqlite3.Connection | None = None
        self._file: FileIdentity = None
        self._threads = NativeThreads(1)
        self._commits = GroupCommit(self._run_batch)
        self.log = LogUpkeep(path)

    def submit(self, work: Callable[[sqlite3.Connection], Result], *, long: bool = False) -> Result:
        """The unit's result once it is on disk; a `long` one runs in a native thread whole."""
        result: Result = self._commits.submit(work, long=long)
        return result

    def run_beside(self, work: Callable[[], None]) -> None:
        """Runs it in the thread of long acts, beside no other."""
        self._threads.run(work)

    def close(self) -> None:
        writer, self._connection = self._connection, None
        if writer is None:
            return
        try:
            self.log.empty(writer)
        except sqlite3.Error as error:
            logger.warning("log_not_emptied", extra={"cause": failure(error).part})
        writer.close()

    def _run_batch(self, units: list[Unit]) -> BaseException | None:
        try:
            writer = self._open()
            # A unit that waited behind a batch that got no lock has used up its patience there.
            waited = time.monotonic() - min(unit.arrived for unit in units)
            patience = SUSPECT_SECONDS / 2 if self._state.suspect else self._patience
            begin_immediate(writer, patience - waited)
        except sqlite3.Error as error:
            if not is_busy(error):
                self.drop()
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
                    self._threads.run(lambda: self._run_transaction(writer, units, _commit))
                finally:
                    self._state.long_act(running=False)
            else:
                late = self._run_transaction(writer, units, self._commit_beside)
        except BaseException:
            # This greenlet is being ended, and its units are told so. The thread may go on: the
            # connection is left to it, by which it sees that it has to take everything back.
            self._connection = None
            raise
        if self._connection is writer and self.log.due:
            late = self._keep_log(writer) or late
        return late

    def _commit_beside(self, writer: sqlite3.Connection) -> BaseException | None:
        """Commits in a native thread: a disk that stalls must not stop the other greenlets."""
        return self._threads.run_to_its_end(lambda: _commit(writer))

    def _keep_log(self, writer: sqlite3.Connection) -> BaseException | None:
        """The batch is stored whatever becomes of this."""
        try:
            return self._threads.run_to_its_end(lambda: self.log.run(writer))
        except sqlite3.Error as error:
            if not is_busy(error):
                logger.warning("log_not_emptied", extra={"cause": failure(error).part})
                self.drop()
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
            if self._connection is not writer:
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
            if self._connection is writer:
                self._connection = None
            writer.close()

    def drop(self) -> None:
        writer, self._connection = self._connection, None
        if writer is not None:
            writer.close()

    def _open(self) -> sqlite3.Connection:
        # Only the leader of a batch comes here, so one connection is enough and never shared.
        file = identity(self._name)
        if file != self._file:
            self.drop()
        if self._connection is None:
            self._examine(file)
            self._connection = connect(self._path)
            # A page written out early would be written on the way of every greenlet.
            self._connection.execute("PRAGMA cache_spill = OFF")
            self._file = file
        return self._connection


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
