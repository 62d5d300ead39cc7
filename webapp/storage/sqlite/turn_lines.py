"""The lines of turns in a SQLite file beside the database, for all processes of one machine.

Nothing in it outlives the processes: it is written without waiting for the disk, and the first
process that comes makes it anew. That a turn stores nothing without its place is not decided here
but in the database itself; see `tenants/counters/store.py`.

Who is alive is known by the kernel: each process holds a lock on a file of its own, which is free
the moment it ends, however it ends. One that stands still has its lock, so it also has to renew
its lease, by the machine's monotonic clock, which nobody sets.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from webapp.errors import StorageUnavailable
from webapp.storage.sqlite.connecting import patiently
from webapp.storage.sqlite.failures import failure, is_busy
from webapp.storage.sqlite.file import FileIdentity, create_private, identity
from webapp.turns.lines import LEASE_SECONDS, Ticket

OPENING_SECONDS = 5.0


class SQLiteTurnLines:
    """In the file `NAME-turns` beside the database; there while a process is that had a turn."""

    def __init__(self, database: Path, *, lease: float = LEASE_SECONDS) -> None:
        self._path = database.absolute().with_name(database.name + "-turns")
        self._name = str(self._path)
        self._lease = lease
        # Reentrant because the collector may end an abandoned stream, and so leave, just here.
        self._mutex = threading.RLock()
        self._file: FileIdentity = None
        self._connection: sqlite3.Connection | None = None
        self._owed: list[tuple[str, dict[str, Any]]] = []
        self._worker = 0
        self._lock_file = -1

    @property
    def worker(self) -> int:
        """See `TurnLines.worker`."""
        return self._worker

    def join(self, line: str, most: int | None) -> Ticket | None:
        """See `TurnLines.join`."""
        with self._mutex:
            ticket = self._join(line, most)
            if ticket is None and self._drop_dead(line):
                ticket = self._join(line, most)
            return ticket

    def head(self, line: str) -> Ticket | None:
        """See `TurnLines.head`."""
        with self._mutex:
            while True:
                row = self._one(_HEAD, line=line)
                if row is None:
                    return None
                if self._lives(row[1]):
                    return Ticket(*row)

    def heads(self, lines: Collection[str], *, living: bool) -> dict[str, Ticket]:
        """See `TurnLines.heads`; gives those of all lines that this process stands in."""
        if living:
            found = {line: self.head(line) for line in lines}
            return {line: head for line, head in found.items() if head is not None}
        with self._mutex:
            rows = self._run(_HEADS, worker=self._worker)
        return {line: Ticket(number, worker) for line, number, worker in rows}

    def leave(self, line: str, ticket: Ticket) -> None:
        """See `TurnLines.leave`."""
        self._give_back(_LEAVE, line=line, number=ticket.number, worker=ticket.worker)

    def leave_within(self, _transaction: Any, _line: str, _ticket: Ticket) -> bool:
        """See `TurnLines.leave_within`: these lie in a file of their own."""
        return False

    def hold_key(self, line: str, key: str, body: str) -> tuple[int, str]:
        """See `TurnLines.hold_key`."""
        with self._mutex:
            while True:
                self._require_enrolled()
                if self._one(_HOLD, line=line, key=key, body=body, worker=self._worker):
                    return self._worker, body
                row = self._one(_HELD, line=line, key=key)
                if row is not None and self._lives(row[0]):
                    return 0, str(row[1])

    def free_key(self, line: str, key: str, worker: int) -> None:
        """See `TurnLines.free_key`."""
        self._give_back(_FREE, line=line, key=key, worker=worker)

    def renew(self) -> None:
        """See `TurnLines.renew`."""
        with self._mutex:
            if self._connection is not None:
                self._run(_RENEW, worker=self._worker, now=time.monotonic())
            while self._owed:
                statement, values = self._owed[0]
                self._run(statement, **values)
                self._owed.pop(0)

    def close(self) -> None:
        """See `TurnLines.close`."""
        with self._mutex:
            if self._connection is not None:
                with suppress(StorageUnavailable):
                    self._drop(self._worker)
                self._let_go()
                with suppress(OSError), self._alone():
                    self._clear_away()

    # -- lines and processes --------------------------------------------------------------------

    def _join(self, line: str, most: int | None) -> Ticket | None:
        limit = 2**62 if most is None else most
        while True:
            self._require_open()
            row = self._one(_JOIN, line=line, most=limit, worker=self._worker)
            if row is not None:
                return Ticket(row[0], self._worker)
            if self._one(_RENEWED, worker=self._worker) is not None:
                return None
            self._let_go()  # what opens it takes another number

    def _require_enrolled(self) -> None:
        """A process that stood still too long has lost its number, and takes another."""
        self._require_open()
        if self._one(_RENEWED, worker=self._worker) is None:
            self._let_go()
            self._require_open()

    def _drop_dead(self, line: str) -> bool:
        """Whether some of the line had no process any more; they are out of it."""
        workers = [row[0] for row in self._run(_WORKERS_OF, line=line)]
        dead = [worker for worker in workers if not self._lives(worker)]
        return bool(dead)

    def _lives(self, worker: int) -> bool:
        """Whether the process lives; one that does not is taken off, with all that it holds."""
        row = self._one(_RENEWED, worker=worker)
        if row is not None and (
            worker == self._worker
            or (row[0] > time.monotonic() - self._lease and _is_locked(self._lock_of(worker)))
        ):
            return True
        self._drop(worker)
        return False

    def _drop(self, worker: int) -> None:
        """The process may still live, and finds out with its next ticket."""
        for statement in (_DROP_WORKER, _DROP_TICKETS, _DROP_KEYS):
            self._run(statement, worker=worker)
        with suppress(OSError):
            self._lock_of(worker).unlink()

    # -- the file -------------------------------------------------------------------------------

    def _give_back(self, sql: str, **values: Any) -> None:
        with self._mutex:
            try:
                self._run(sql, **values)
            except StorageUnavailable:
                self._owed.append((sql, values))

    def _one(self, sql: str, **values: Any) -> Any:
        return next(iter(self._run(sql, **values)), None)

    def _run(self, sql: str, **values: Any) -> list[Any]:
        """Each statement is a transaction of its own."""
        try:
            connection = self._connection or self._open()
            return patiently(lambda: connection.execute(sql, values).fetchall())
        except sqlite3.Error as error:
            if not is_busy(error):
                self._let_go()
            raise failure(error) from error
        except OSError as error:
            raise StorageUnavailable("The file of the turns' lines cannot be used.") from error

    def _require_open(self) -> None:
        """Opens the file that lies there now, if that is not yet so."""
        if self._connection is None or identity(self._name) != self._file:
            self._let_go()
            self._run(_RENEWED, worker=0)

    def _open(self) -> sqlite3.Connection:
        with self._alone():
            self._clear_away()
            create_private(self._path)
            connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=0, check_same_thread=False
            )
            try:
                for statement in _SET_UP:
                    patiently(partial(connection.execute, statement))
                self._connection, self._file = connection, identity(self._name)
                self._enrol()
            except BaseException:
                self._connection = None
                connection.close()
                raise
        return connection

    def _clear_away(self) -> None:
        """When nobody is there, what lies here is of processes that are gone, or of another boot.

        The lock of those who open stays: who waits for it would have another than who comes next.
        """
        locks = list(self._path.parent.glob(f"{escape(self._path.name)}.[0-9]*.lock"))
        if not any(_is_locked(lock) for lock in locks):
            beside = [self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm")]
            for old in [*locks, *beside]:
                old.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; it waits by sleeping here, where other greenlets can go on."""
        path = self._path.with_name(f"{self._path.name}.lock")
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + OPENING_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise
                time.sleep(0.005)
            yield
        finally:
            os.close(file)

    def _lock_of(self, worker: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{worker}.lock")

    def _enrol(self) -> None:
        """Takes a number that nobody had before, and the lock that says that it lives."""
        (self._worker,) = self._one(_ENROL, now=time.monotonic())
        self._unlock()
        self._lock_file = os.open(
            self._lock_of(self._worker), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock_file = self._lock_file, -1
        if lock >= 0:
            os.close(lock)


def anybody_stands_in_line(database: Path) -> bool:
    """Whether a process lives that had a turn with this database."""
    pattern = f"{escape(database.name)}-turns.[0-9]*.lock"
    return any(map(_is_locked, database.absolute().parent.glob(pattern)))


def _is_locked(path: Path) -> bool:
    """Whether the process whose lock this is has it still."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


_SET_UP = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    """CREATE TABLE IF NOT EXISTS workers (
        id INTEGER PRIMARY KEY AUTOINCREMENT, renewed REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS tickets (
        line TEXT NOT NULL, ticket INTEGER NOT NULL, worker INTEGER NOT NULL,
        PRIMARY KEY (line, ticket)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS keys (
        line TEXT NOT NULL, key TEXT NOT NULL, worker INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (line, key)
    ) WITHOUT ROWID""",
)
_ENROL = "INSERT INTO workers (renewed) VALUES (:now) RETURNING id"
_RENEWED = "SELECT renewed FROM workers WHERE id = :worker"
_RENEW = "UPDATE workers SET renewed = :now WHERE id = :worker"
_JOIN = """
    INSERT INTO tickets (line, ticket, worker)
    SELECT :line,
        (SELECT COALESCE(MAX(ticket), 0) + 1 FROM tickets WHERE line = :line), :worker
    WHERE (SELECT COUNT(*) FROM tickets WHERE line = :line) < :most
        AND EXISTS (SELECT 1 FROM workers WHERE id = :worker)
    RETURNING ticket
"""
_HEAD = "SELECT ticket, worker FROM tickets WHERE line = :line ORDER BY ticket LIMIT 1"
_HEADS = """
    SELECT line, MIN(ticket), worker FROM tickets
    WHERE line IN (SELECT line FROM tickets WHERE worker = :worker) GROUP BY line
"""
_WORKERS_OF = "SELECT DISTINCT worker FROM tickets WHERE line = :line"
_LEAVE = "DELETE FROM tickets WHERE line = :line AND ticket = :number AND worker = :worker"
_HOLD = """
    INSERT INTO keys (line, key, worker, body) VALUES (:line, :key, :worker, :body)
    ON CONFLICT (line, key) DO NOTHING RETURNING key
"""
_HELD = "SELECT worker, body FROM keys WHERE line = :line AND key = :key"
_FREE = "DELETE FROM keys WHERE line = :line AND key = :key AND worker = :worker"
_DROP_WORKER = "DELETE FROM workers WHERE id = :worker"
_DROP_TICKETS = "DELETE FROM tickets WHERE worker = :worker"
_DROP_KEYS = "DELETE FROM keys WHERE worker = :worker"
