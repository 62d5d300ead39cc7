"""SQLite connections that only read, kept for the next reader; writing is in database.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from webapp.errors import StorageUnavailable
from webapp.storage.sqlite.connecting import connect
from webapp.storage.sqlite.failures import failure, translated
from webapp.storage.sqlite.file import FileIdentity, identity

KEPT_READERS = 8


class Readers:
    """Gives each unit of reading a connection of its own.

    Taking from a list and putting back are atomic; a lock here would be one of greenlets, which
    does not reach into the native threads of long reads.
    """

    def __init__(
        self,
        path: Path,
        *,
        examine: Callable[[FileIdentity], None],
        damaged: Callable[[StorageUnavailable], None],
    ) -> None:
        """`examine` is asked before the first connection to a file, `damaged` is told of one."""
        self._path, self._name = path, str(path)
        self._examine = examine
        self._damaged = damaged
        self._free: list[sqlite3.Connection] = []
        self._file: FileIdentity = None

    def read(self, *, one_moment: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Without `one_moment` each statement may see another, and there is no transaction."""
        return _Reading(self, one_moment)

    def close(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            connection.close()

    def take(self) -> tuple[sqlite3.Connection, FileIdentity]:
        file = identity(self._name)
        if file != self._file:
            self._examine(file)
            stale, self._free, self._file = self._free, [], file
            for connection in stale:
                connection.close()
        try:
            return self._free.pop(), file
        except IndexError:
            pass
        with translated():
            connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            return connection, file

    def failed(self, connection: sqlite3.Connection, error: StorageUnavailable) -> None:
        """The next reader shall not inherit what went wrong."""
        connection.close()
        if error.part == "damaged":
            self._damaged(error)

    def give_back(self, connection: sqlite3.Connection, file: FileIdentity) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        if len(self._free) < KEPT_READERS and file == self._file:
            self._free.append(connection)
        else:
            connection.close()


class _Reading(AbstractContextManager[sqlite3.Connection]):
    """One unit of reading. Two generators did the same for twice the time, twice in each turn."""

    __slots__ = ("_connection", "_file", "_one_moment", "_readers")

    def __init__(self, readers: Readers, one_moment: bool) -> None:
        self._readers = readers
        self._one_moment = one_moment

    def __enter__(self) -> sqlite3.Connection:
        self._connection, self._file = self._readers.take()
        if self._one_moment:
            try:
                self._connection.execute("BEGIN")
            except sqlite3.Error as error:
                raise self._failed(failure(error)) from error
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise self._failed(failure(error)) from error
        if isinstance(error, StorageUnavailable):
            self._failed(error)
        else:
            self._readers.give_back(self._connection, self._file)

    def _failed(self, error: StorageUnavailable) -> StorageUnavailable:
        self._readers.failed(self._connection, error)
        return error
