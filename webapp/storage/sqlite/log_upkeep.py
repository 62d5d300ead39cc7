"""Empties SQLite's write-ahead log into the file at the right time; the log itself is in wal.py.
The leader of a group commit does it after its batch, in a native thread: inside a commit, as SQLite
would do it, the copying and its two flushes would stop every greenlet.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from webapp.storage.sqlite import wal

# As much as SQLite itself lets the log grow to.
LARGE_BYTES = 4 * 1024 * 1024
# A log that a reader keeps from being cut off stays large: do not try again after each batch.
BATCHES_BETWEEN = 64


class LogUpkeep:
    """For the one connection that writes in this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._batches = 0
        self._bytes_left = 0
        self._linked = False
        self.wanted = False

    @property
    def due(self) -> bool:
        """Asked after each batch; costs a look at the file's size."""
        self._batches += 1
        return self.wanted or not self._linked or self._is_large()

    def run(self, writer: sqlite3.Connection) -> None:
        """Links the database to its log, and empties that when it is large; raises SQLite's."""
        self._link(writer)
        if self.wanted or self._is_large():
            self.wanted = False
            self.empty(writer)

    def empty(self, writer: sqlite3.Connection) -> bool:
        """Copies the log into the file and cuts it off; False when a reader was in the way."""
        known = wal.read_link(writer)
        if known is not None and known.salt == wal.salt(self._path):
            _in_transaction(writer, known.emptied_again())
        cut_off = wal.cut_off(writer)
        self._batches = 0
        self._bytes_left = wal.wal_bytes(self._path)
        # The next log gets a link as soon as there is something in it.
        self._linked = False
        return cut_off

    def _is_large(self) -> bool:
        size = wal.wal_bytes(self._path)
        return size >= LARGE_BYTES and (
            self._batches >= BATCHES_BETWEEN or size >= self._bytes_left + LARGE_BYTES
        )

    def _link(self, writer: sqlite3.Connection) -> None:
        log = wal.salt(self._path)
        if log is None:
            return
        link = wal.link_to(self._path, writer, log)
        if link is not None:
            _in_transaction(writer, link)
        self._linked = True


def _in_transaction(writer: sqlite3.Connection, link: wal.Link) -> None:
    writer.execute("BEGIN IMMEDIATE")
    try:
        wal.write_link(writer, link)
        writer.execute("COMMIT")
    finally:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
