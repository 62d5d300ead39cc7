"""The note that a database holds while a copy into it is not finished."""

from __future__ import annotations

from webapp.errors import StorageUnavailable
from webapp.storage import meta
from webapp.storage.database import Connection, Database

NAME = "copying"


def read(connection: Connection) -> str | None:
    """Where the copy comes from, when one has begun and is not finished."""
    return meta.value(connection, NAME)


def put(connection: Connection, source: str) -> None:
    meta.put(connection, NAME, source)


def take(connection: Connection) -> None:
    meta.take(connection, NAME)


def require_no_unfinished_copy(database: Database) -> None:
    """Raises `StorageUnavailable` when what is in the database is only a part."""
    with database.read() as connection:
        source = read(connection)
    if source is not None:
        raise StorageUnavailable(
            f"The database holds an unfinished copy of {source}; run the same"
            " `switchboard db copy` again to finish it.",
            part="unfinished",
        )
