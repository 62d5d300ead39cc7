"""Counters for the limiter in one SQLite file, so that several processes count exactly together.

Fixed windows only, which is what `webapp/web/limits.py` uses. Importing this module makes the
`limits` package know URLs that begin with `sqlite:///`. The file is beside the database, never
in it: counters are written without waiting for the disk, and a reset may simply delete them.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from limits import RateLimitItem
from limits.storage import Storage

from webapp.storage.sqlite.connecting import patiently
from webapp.storage.sqlite.file import create_private

Result = TypeVar("Result")

SWEEP_EVERY = 100
SWEEP_AT_MOST = 200
KEPT_CONNECTIONS = 4

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS windows (
        name TEXT PRIMARY KEY, hits INTEGER NOT NULL, begins_at REAL NOT NULL,
        expires_at REAL NOT NULL
    ) WITHOUT ROWID
"""
# A window that begins later than now was begun before the clock was set back: without this it
# would last as long as the clock was set back by. A second is what two processes may differ by.
_OVER = "(expires_at <= :now OR begins_at > :now + 1)"
_ADDED = f"""
    ON CONFLICT (name) DO UPDATE SET
        hits = CASE WHEN {_OVER} THEN 0 ELSE hits END + excluded.hits,
        begins_at = CASE WHEN {_OVER} THEN excluded.begins_at ELSE begins_at END,
        expires_at = CASE WHEN {_OVER} THEN excluded.expires_at ELSE expires_at END
    RETURNING hits, expires_at
"""  # nosec B608  # a constant condition
_COUNT = f"""
    INSERT INTO windows (name, hits, begins_at, expires_at)
    VALUES (:name, :amount, :now, :now + :expiry)
    {_ADDED}
"""  # noqa: S608  # nosec B608  # a constant clause
# Those in front of the first that is full, which is all of them when none is. SQLite finds them
# before it writes the first, because it reads the table into which it writes.
_TAKE = """
    WITH
        asked (number, name, most, expiry) AS (VALUES {asked}),
        full (number) AS (
            SELECT MIN(number) FROM asked JOIN windows USING (name)
            WHERE hits >= most AND NOT {over}
        )
    INSERT INTO windows (name, hits, begins_at, expires_at)
    SELECT name, 1, :now, :now + expiry FROM asked CROSS JOIN full
    WHERE full.number IS NULL OR asked.number < full.number
    ORDER BY asked.number
    {added}
"""
_SWEEP = """
    DELETE FROM windows WHERE name IN
        (SELECT name FROM windows WHERE expires_at <= :now LIMIT :most)
"""


@lru_cache(maxsize=32)
def _taking(number: int) -> str:
    """The statement for so many limits."""
    asked = ", ".join(f"({n}, :name{n}, :most{n}, :expiry{n})" for n in range(number))
    return _TAKE.format(asked=asked, over=_OVER, added=_ADDED)


class SQLiteStorage(Storage):
    """`sqlite:///path/to/limits.db`. One statement counts, so no two processes count alike."""

    STORAGE_SCHEME = ["sqlite"]  # noqa: RUF012 - the name and type are the package's

    def __init__(
        self, uri: str, wrap_exceptions: bool = False, **options: float | str | bool
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._path = Path(uri.removeprefix("sqlite:///"))
        self._lock = threading.Lock()
        self._free: list[sqlite3.Connection] = []
        self._since_sweep = 0

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.time()
        counted = {"name": key, "amount": amount, "expiry": expiry, "now": now}
        row = self._run(lambda connection: connection.execute(_COUNT, counted).fetchall()[0])
        self._sweep_at_times(1, now)
        return int(row[0])

    def take(self, items: Sequence[RateLimitItem], *identifiers: str) -> tuple[int, int, float]:
        """As `InOneStep.take` in storage/redis/limits.py, in one statement."""
        now = time.time()
        asked: dict[str, str | float] = {"now": now}
        for number, item in enumerate(items):
            asked[f"name{number}"] = item.key_for(*identifiers)
            asked[f"most{number}"] = item.amount
            asked[f"expiry{number}"] = item.get_expiry()
        statement = _taking(len(items))
        taken = self._run(lambda connection: connection.execute(statement, asked).fetchall())
        self._sweep_at_times(len(taken), now)
        if len(taken) == len(items):
            hits, ends_at = taken[0]
            return -1, hits, ends_at - now
        full = len(taken)
        standing = self._find(str(asked[f"name{full}"]))
        # Its window may have ended just now: then it was full, and is to be asked again.
        hits, ends_at = (items[full].amount, now) if standing is None else standing
        return full, hits, max(0.0, ends_at - now)

    def _sweep_at_times(self, counted: int, now: float) -> None:
        """More go in one sweep than came since the last one, so the file stops growing."""
        self._since_sweep += counted
        if self._since_sweep >= SWEEP_EVERY:
            self._since_sweep = 0
            swept = {"now": now, "most": SWEEP_AT_MOST}
            self._run(lambda connection: connection.execute(_SWEEP, swept))

    def get(self, key: str) -> int:
        row = self._find(key)
        return 0 if row is None else row[0]

    def get_expiry(self, key: str) -> float:
        """When the window of this key ends, in seconds since 1970; now, when it has none."""
        row = self._find(key)
        return time.time() if row is None else row[1]

    def check(self) -> bool:
        self._run(lambda connection: connection.execute("SELECT 1 FROM windows LIMIT 1"))
        return True

    def reset(self) -> int | None:
        return self._run(lambda connection: connection.execute("DELETE FROM windows").rowcount)

    def clear(self, key: str) -> None:
        self._run(
            lambda connection: connection.execute(
                "DELETE FROM windows WHERE name = :name", {"name": key}
            )
        )

    def close(self) -> None:
        """Closes the connections; the next call opens another."""
        with self._lock:
            connections, self._free = self._free, []
        for connection in connections:
            connection.close()

    def _find(self, key: str) -> tuple[int, float] | None:
        asked = {"name": key, "now": time.time()}
        rows: list[tuple[int, float]] = self._run(
            lambda connection: connection.execute(
                f"SELECT hits, expires_at FROM windows WHERE name = :name AND NOT {_OVER}",  # noqa: S608  # nosec B608  # as above
                asked,
            ).fetchall()
        )
        return rows[0] if rows else None

    def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Waits for another process's lock by sleeping here, where other greenlets can go on."""
        with self._connection() as connection:
            return patiently(lambda: work(connection))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._free.pop() if self._free else None
        # The first process makes the file, and SQLite does not let the others wait for that.
        connection = connection or patiently(self._connect)
        try:
            yield connection
        except sqlite3.Error:
            # The file may have been replaced or lost: the next try opens it anew.
            connection.close()
            raise
        with self._lock:
            if len(self._free) < KEPT_CONNECTIONS:
                self._free.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            create_private(self._path)
        except OSError as error:
            raise sqlite3.OperationalError("the file cannot be made") from error
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=0, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A power cut may lose the last counts, and does not damage the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection
