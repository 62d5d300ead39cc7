"""SQLite connections that only read, kept for the next reader; writing is in database.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from webapp.errors import StorageUnavailable
from webapp.storage.sqlite.connecting import connect
from webapp.storage.sqlite.failures import translated
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
        self._path = path
        self._examine = examine
        self._damaged = damaged
        self._free: list[sqlite3.Connection] = []
        self._file: FileIdentity = None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        connection, file = self._take()
        try:
            with translated():
                connection.execute("BEGIN")
                yield connection
        except StorageUnavailable as error:
            connection.close()  # the next reader shall not inherit what went wrong
            if error.part == "damaged":
                self._damaged(error)
            raise
        except BaseException:
            self._give_back(connection, file)
            raise
        self._give_back(connection, file)

    def close(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            connection.close()

    def _take(self) -> tuple[sqlite3.Connection, FileIdentity]:
        file = identity(self._path)
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

    def _give_back(self, connection: sqlite3.Connection, file: FileIdentity) -> None:
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
