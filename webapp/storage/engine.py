"""Which engine a connection belongs to, for the few statements that differ; no SQL here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeGuard

from webapp.storage.database import Ask, Connection, Parameters, Rows

Engine = Literal["sqlite", "postgres"]


class ServerConnection(Connection, Protocol):
    """A connection to a server, to which each question is a way there and back."""

    def execute_together(self, asks: Sequence[Ask]) -> Sequence[Rows]:
        """Statements that do not wait for one another's rows, in one go."""
        ...

    def later(
        self,
        sql: str,
        parameters: Parameters,
        check: Callable[[Rows], None] | None = None,
    ) -> None:
        """Runs the statement together with the next one, or with the commit; `check` may raise for
        what it gave."""
        ...


def engine_of(connection: Connection) -> Engine:
    """SQLite's connections are the driver's own and carry no mark."""
    engine: Engine = getattr(connection, "engine", "sqlite")
    return engine


def is_on_server(connection: Connection) -> TypeGuard[ServerConnection]:
    """Whether questions are to be put together."""
    return engine_of(connection) == "postgres"


def run(connection: Connection, sql: str, parameters: Parameters) -> None:
    """Runs a statement whose outcome nobody looks at; on a server together with the next one."""
    if is_on_server(connection):
        connection.later(sql, parameters)
    else:
        connection.execute(sql, parameters)
