"""A memory in a PostgreSQL database, for programs on several hosts, without the server."""

from __future__ import annotations

from webapp.clock import Clock
from webapp.errors import SchemaOutOfDate, SchemaTooNew
from webapp.memory.arguments import DEFAULT_SIZE, check_database, check_size, server_url
from webapp.memory.stored import StoredMemory
from webapp.session_state import MAX_BYTES
from webapp.storage import Database, open_database
from webapp.tenants.user_ids.forms import UserIds

CONNECTIONS = 10


class PostgresMemory(StoredMemory):
    """Conversations in the database that Switchboard itself uses, safe to share with it.

    An `add` that has returned is on the server's disk. `max_size` counts the messages of a
    session; 0 keeps all. Methods raise `StorageUnavailable` when the database cannot do it.
    """

    def __init__(
        self,
        database: str | Database,
        max_size: int = DEFAULT_SIZE,
        *,
        connections: int = CONNECTIONS,
        max_state_bytes: int = MAX_BYTES,
        user_ids: UserIds | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Given a `postgresql://` URL, the tables are made or upgraded, and so many connections
        are opened at most; a `Database` is used as it is. Needs the package psycopg."""
        check_size(max_size)
        owned = isinstance(database, str)
        if isinstance(database, str):
            opened = open_database(server_url(database), max(1, connections))
            prepare(opened)
        else:
            opened = check_database(
                database, "a PostgresMemory", "the URL of a database", "postgresql://host/chats"
            )
        super().__init__(
            opened,
            max_size,
            owned=owned,
            user_ids=user_ids,
            clock=clock,
            max_state_bytes=max_state_bytes,
        )


def prepare(database: Database) -> None:
    """Makes the tables, if they are not there: the role need not be their owner otherwise."""
    try:
        try:
            database.check()
        except SchemaTooNew:
            raise
        except SchemaOutOfDate:
            database.upgrade()
    except BaseException:
        database.close()
        raise
