"""Makes a connection to a PostgreSQL server; what is done with it is link.py's."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from webapp.errors import ConfigurationError
from webapp.storage.postgres.failures import failure

CONNECT_SECONDS = 5
# A server that does not answer for so long is gone: its machine is off, or the network between.
SILENCE_SECONDS = 15
# A process that stands still inside a transaction holds its rows for so long.
IDLE_SECONDS = 20
_OURS: dict[str, str | int] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "switchboard",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": SILENCE_SECONDS * 1000,
}


def conninfo_of(url: str) -> str:
    """What libpq is given; raises `ConfigurationError`, which does not repeat the URL."""
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        return make_conninfo("", **{**_OURS, **given, "client_encoding": "UTF8"})
    except psycopg.Error:
        raise ConfigurationError(
            "The database's URL is not one that PostgreSQL understands; write"
            " postgresql://user:password@host:5432/database."
        ) from None


def connect(conninfo: str) -> psycopg.Connection:
    """A connection without a transaction; raises `StorageUnavailable`."""
    try:
        return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise failure(error) from error
