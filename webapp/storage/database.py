"""The protocol of the database that every store uses; the engines are in folders beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from webapp.errors import ConfigurationError
from webapp.turns.lines import TurnLines

Result = TypeVar("Result")
Parameters = Mapping[str, Any]

Ask = tuple[str, Parameters]
"""A statement and its parameters."""
Asks = Callable[[], Sequence[Ask]]

SERVER_SCHEMES = ("postgresql://", "postgres://")
CONNECTIONS = 10


class Rows(Protocol):
    """The rows of a statement: tuples in the order of its columns."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """A connection inside a unit of work; SQL in the subset shared by SQLite and PostgreSQL,
    with `:name` parameters.

    What PostgreSQL alone is to read stands in `/*pg … */`, which is a comment to SQLite.
    """

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Rows: ...
    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> Rows: ...


class Database(Protocol):
    """Units of work. Each raises `StorageUnavailable` when the database cannot do it."""

    url: str

    def read(self, asks: Asks | None = None) -> AbstractContextManager[Connection]:
        """Short reads of one moment: all statements inside see the same state.

        With `asks`, which says beforehand what will be asked, a server is asked these together;
        what is asked beside them there is of a later moment.
        """
        ...

    def read_each(self) -> AbstractContextManager[Connection]:
        """Short reads, each of its own moment, which cost less: for a single statement whose rows
        are all fetched."""
        ...

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Runs `work` in a transaction and returns when its result is on disk.

        That no other runs at the same time is SQLite's way and no promise: what reads and then
        writes by what it read says what it holds, see alone.py.

        When `work` raises, nothing of it is stored and the error goes on to the caller. `work`
        may share its commit with others that wait at the same moment; it must not block on
        anything but the database, and never call a model.
        """
        ...

    def write_long(self, work: Callable[[Connection], Result]) -> Result:
        """`write` for work of seconds, such as clearing all tenants: other writes wait for it,
        but reads and whatever else this process does go on."""
        ...

    def read_long(self, work: Callable[[Connection], Result]) -> Result:
        """A read that may take long (a scan, an export): it does not hold up other requests."""
        ...

    def version(self) -> str:
        """The engine's name and version, as `switchboard check` shows them."""
        ...

    def require_writable(self) -> None:
        """Raises `StorageUnavailable` when a write would fail now.

        Costs nothing while writes come through; else one small write is tried for all who ask.
        """
        ...

    def require_ready(self) -> None:
        """`check` and `require_writable`, in two seconds at the most."""
        ...

    def examine(self, *, thorough: bool = False) -> list[str]:
        """The damage, a sentence each; within seconds, or `thorough` however long it takes."""
        ...

    def doubts(self) -> list[str]:
        """The risks of a database that works, a sentence each: file permissions, other writers."""
        ...

    def empty_log(self) -> bool:
        """Takes out of the files beside the database what was deleted; False when it is in use."""
        ...

    def upgrade(self) -> list[str]:
        """Makes or migrates the schema; idempotent; gives the names of the steps taken."""
        ...

    def check(self) -> None:
        """One cheap question to the database; raises `StorageUnavailable` or `SchemaOutOfDate`."""
        ...

    def shrink_log(self) -> None:
        """The same, but only once they are large: for callers that ask again and again."""
        ...

    def back_up(self, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
        """Copies everything, as it is at one moment, into a new file; see sqlite/backup.py."""
        ...

    def compact(self) -> None:
        """Rewrites the file, so that nothing that was deleted stays in it. May take long."""
        ...

    def close(self) -> None: ...


def open_database(url: str, connections: int = CONNECTIONS) -> Database:
    """The database behind `url`; nothing is made or migrated yet.

    A server is asked over so many connections at most.
    """
    if url.startswith(SERVER_SCHEMES):
        return _on_server(url, connections)
    if url.startswith("sqlite:///"):
        from webapp.storage.sqlite.database import SQLiteDatabase

        path = url.removeprefix("sqlite:///")
        if not path or path == ":memory:":
            raise ConfigurationError(
                "SWITCHBOARD_DATABASE_URL must name a file: sqlite:///path/to/switchboard.db."
            )
        return SQLiteDatabase(Path(path))
    raise ConfigurationError(
        "SWITCHBOARD_DATABASE_URL is not one this version can use: sqlite:///path/to/file.db or"
        " postgresql://user:password@host/database."
    )


def _on_server(url: str, connections: int) -> Database:
    try:
        from webapp.storage.postgres.database import PostgresDatabase
    except ImportError:
        raise ConfigurationError(
            "The database is on a PostgreSQL server, which needs the package psycopg; install it"
            " with: pip install 'psycopg[binary]'."
        ) from None
    return PostgresDatabase(url, connections)


def open_turn_lines(database: Database) -> TurnLines:
    """The lines that turns wait in, for all processes that use the database; nothing is made
    yet."""
    if database.url.startswith(SERVER_SCHEMES):
        from webapp.storage.postgres.database import PostgresDatabase
        from webapp.storage.postgres.turn_lines import PostgresTurnLines

        assert isinstance(database, PostgresDatabase)  # noqa: S101  # nosec B101  # by its URL
        return PostgresTurnLines(database)
    from webapp.storage.sqlite.turn_lines import SQLiteTurnLines

    return SQLiteTurnLines(Path(database.url.removeprefix("sqlite:///")))
