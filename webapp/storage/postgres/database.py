"""PostgreSQL: units of work, schema, whether it can be used. A connection is link.py's."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from webapp.errors import ConfigurationError, StorageUnavailable
from webapp.storage.postgres import examination, schema
from webapp.storage.postgres.connecting import conninfo_of
from webapp.storage.postgres.connection import PostgresConnection
from webapp.storage.postgres.failures import (
    MOST_TRIES,
    failure,
    is_fault,
    is_lost,
    is_read_only,
    may_succeed_again,
)
from webapp.storage.postgres.link import Ask, Link, Outcome
from webapp.storage.postgres.pool import Pool
from webapp.storage.postgres.schema import SchemaState
from webapp.storage.writability import Writability

Result = TypeVar("Result")

Asks = Callable[[], Sequence[Ask]]
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED"
STATEMENT_SECONDS = 10.0
READY_SECONDS = 2.0
LONG_ACTS = 3
_TRIAL = """
    INSERT INTO meta (name, value) VALUES ('write_trial', :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class PostgresDatabase:
    """One database of a PostgreSQL server, over a bounded number of connections.

    Each unit of work is a transaction on a connection of its own; between two units nothing is
    held, so that a pooler in transaction mode may stand between.
    """

    def __init__(self, url: str, connections: int) -> None:
        """`connections` is how many there are at most in this process."""
        self.url = url
        conninfo = conninfo_of(url)
        self._pool = Pool(connections, lambda: Link(conninfo))
        self._long = threading.Semaphore(max(1, min(LONG_ACTS, connections // 2)))
        self._state = Writability(self._try_write)

    # -- units of work --------------------------------------------------------------------------

    def read(self, asks: Asks | None = None) -> AbstractContextManager[PostgresConnection]:
        """See `Database.read`."""
        return _Reading(self._pool, STATEMENT_SECONDS, asks)

    def read_each(self) -> AbstractContextManager[PostgresConnection]:
        """See `Database.read_each`."""
        return _Reading(self._pool, STATEMENT_SECONDS, tuple)

    def write(self, work: Callable[[PostgresConnection], Result]) -> Result:
        """See `Database.write`; `work` may be run again when another transaction was in its way."""
        return self._written(work, STATEMENT_SECONDS)

    def write_long(self, work: Callable[[PostgresConnection], Result]) -> Result:
        """See `Database.write_long`."""
        with self._long:
            return self._written(work, None)

    def read_long(self, work: Callable[[PostgresConnection], Result]) -> Result:
        """See `Database.read_long`."""
        with self._long, _Reading(self._pool, None) as connection:
            return work(connection)

    def once(self, sql: str, parameters: Mapping[str, Any]) -> Outcome:
        """One statement that is a transaction of its own."""
        with _Reading(self._pool, STATEMENT_SECONDS, tuple) as connection:
            return connection.execute(sql, parameters)

    def _written(
        self, work: Callable[[PostgresConnection], Result], seconds: float | None
    ) -> Result:
        tries = 0
        while True:
            tries += 1
            unit = _Unit()
            try:
                result = self._write_once(work, seconds, unit)
            except StorageUnavailable as error:
                cause = error.__cause__
                if tries < MOST_TRIES and unit.may_run_again(cause):
                    time.sleep(random.uniform(0.001, 0.02 * tries))  # nosec B311  # no secret
                    continue
                if not isinstance(cause, psycopg.Error) or is_fault(cause):
                    self._state.failed(error)
                raise
            self._state.came_through()
            return result

    def _write_once(
        self, work: Callable[[PostgresConnection], Result], seconds: float | None, unit: _Unit
    ) -> Result:
        link = self._pool.take()
        with _Lent(self._pool, link, seconds):
            link.begin(_WRITE)
            result = work(PostgresConnection(link))
            unit.committing = True
            link.commit()
            return result

    # -- whether it can be used -----------------------------------------------------------------

    def require_writable(self) -> None:
        """See `Database.require_writable`."""
        self._state.require(STATEMENT_SECONDS)

    def require_ready(self) -> None:
        """See `Database.require_ready`."""
        self.check()
        self._state.require(READY_SECONDS)

    def check(self) -> None:
        """See `Database.check`."""
        schema.require_current(self._schema_state())

    def examine(self, *, thorough: bool = False) -> list[str]:
        """See `Database.examine`."""
        return self.read_long(lambda connection: examination.faults(connection, thorough=thorough))

    def doubts(self) -> list[str]:
        """See `Database.doubts`."""
        with self.read() as connection:
            return examination.doubts(connection)

    def version(self) -> str:
        """See `Database.version`."""
        with self.read() as connection:
            return examination.version(connection)

    def _try_write(self) -> None:
        """A small write that lasts, for `Writability`."""
        self.once(_TRIAL, {"value": str(time.time_ns())})

    def _schema_state(self) -> SchemaState:
        with self.read() as connection:
            return schema.schema_state(connection)

    # -- the schema and the files ---------------------------------------------------------------

    def upgrade(self) -> list[str]:
        """See `Database.upgrade`; of several processes one does it, and the others wait."""
        with self._long:
            return self._written(schema.upgrade, None)

    def back_up(
        self,
        target: Path,  # noqa: ARG002  # the protocol's
        progress: Callable[[int, int], None] | None = None,  # noqa: ARG002  # the protocol's
    ) -> int:
        """See `Database.back_up`: PostgreSQL brings its own program for it."""
        raise ConfigurationError(
            "PostgreSQL is backed up by its own programs: for one moment by"
            " PGOPTIONS='-c switchboard.tenant=*' pg_dump --enable-row-security --format=custom,"
            " or by pgBackRest and the like to be able to go back to any."
        )

    def compact(self) -> None:
        """See `Database.compact`."""
        link = self._pool.take()
        with _Lent(self._pool, link, None):
            for table in schema.WITH_USER_IDS:
                link.run(f"VACUUM (FULL) {table}")

    def empty_log(self) -> bool:
        """See `Database.empty_log`: the server's log of changes is its own matter."""
        return True

    def shrink_log(self) -> None:
        """See `Database.shrink_log`."""

    def close(self) -> None:
        """Closes the connections; the next unit of work makes new ones."""
        self._pool.close()


class _Lent:
    """A connection for the length of a block; takes back what was not stored.

    A class: a generator for each unit of work costs as much as a statement.
    """

    __slots__ = ("_link", "_pool")

    def __init__(self, pool: Pool, link: Link, seconds: float | None) -> None:
        link.deadline = None if seconds is None else time.monotonic() + seconds
        self._pool = pool
        self._link = link

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._pool.give_back(self._link)
        elif isinstance(error, psycopg.Error):
            self._pool.drop(self._link, all_like_it=is_lost(error) or is_read_only(error))
            raise failure(error) from error
        else:
            self._take_back()

    def _take_back(self) -> None:
        """After an error of the work itself, or in the midst of a statement."""
        if self._link.is_under_way:
            self._link.cancel()
            self._pool.forget()
            return
        try:
            self._link.take_back()
        except (psycopg.Error, StorageUnavailable):
            self._pool.drop(self._link)
        else:
            self._pool.give_back(self._link)


class _Reading:
    """A unit of work that reads. With `asks` there is no transaction: what they give is known at
    once and of one moment, and what is asked beside them each of its own."""

    __slots__ = ("_asks", "_lent", "_link", "_pool", "_seconds")

    def __init__(self, pool: Pool, seconds: float | None, asks: Asks | None = None) -> None:
        self._pool = pool
        self._seconds = seconds
        self._asks = asks

    def __enter__(self) -> PostgresConnection:
        self._link = self._pool.take(sure=self._asks is None)
        self._lent = _Lent(self._pool, self._link, self._seconds)
        try:
            if self._asks is not None:
                return PostgresConnection(self._link, self._asks())
            self._link.begin(_READ)
            return PostgresConnection(self._link)
        except BaseException as error:
            self._lent.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                self._link.leave()
            except BaseException as late:
                self._lent.__exit__(type(late), late, None)
                raise
        self._lent.__exit__(kind, error, trace)


class _Unit:
    """One try of a unit of work that writes."""

    committing = False

    def may_run_again(self, cause: BaseException | None) -> bool:
        """Whether nothing of it is stored, and the next try may succeed.

        Of a connection that was lost while the server stored the unit nobody knows.
        """
        if not isinstance(cause, psycopg.Error):
            return False
        return may_succeed_again(cause) or (is_lost(cause) and not self.committing)
