"""Which steps of the schema a database has, and taking those that are missing."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from webapp.errors import ConfigurationError, SchemaOutOfDate, SchemaTooNew, StorageUnavailable
from webapp.storage.postgres.connection import PostgresConnection
from webapp.storage.postgres.migrations import SEARCH_INDEX, STEPS, WITH_USER_IDS
from webapp.storage.steps import in_the_way

__all__ = ["WITH_USER_IDS", "SchemaState", "require_current", "schema_state", "upgrade"]

# Held by who upgrades, in its transaction; any number that nothing else takes.
_LOCK = 7_358_201_946
_RECORD = "switchboard_schema"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The steps that are missing, and those that only a newer version knows."""

    pending: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    foreign: bool = False


def schema_state(connection: PostgresConnection) -> SchemaState:
    """Looks into the first schema of the role's search path."""
    known = tuple(name for name, _ in STEPS)
    found = connection.execute(_HAS_RECORD, {"name": _RECORD}).fetchone()
    if not found[0]:
        others = connection.execute(_HAS_TABLES).fetchone() is not None
        return SchemaState(known, foreign=others)
    taken = {row[0] for row in connection.execute(f"SELECT name FROM {_RECORD}").fetchall()}  # noqa: S608  # nosec B608  # a constant
    return SchemaState(
        tuple(name for name in known if name not in taken),
        tuple(sorted(taken - set(known))),
    )


def require_ours(state: SchemaState) -> None:
    """Raises `SchemaTooNew`, or `StorageUnavailable` for another application's database."""
    if state.foreign:
        raise StorageUnavailable(
            "The database holds tables of another application; name another database or schema"
            " in SWITCHBOARD_DATABASE_URL.",
            part="foreign",
        )
    newer = in_the_way(state.unknown)
    if newer:
        raise SchemaTooNew(
            f"The database belongs to a newer version of Switchboard ({newer[-1]}); use"
            " that version or a newer one, or restore a backup that this one made."
        )


def require_current(state: SchemaState) -> None:
    require_ours(state)
    if state.pending:
        raise SchemaOutOfDate("The database's schema is old; run: switchboard db upgrade.")


def upgrade(connection: PostgresConnection) -> list[str]:
    """Takes the missing steps, all of them or none; gives their names."""
    connection.execute("SELECT pg_advisory_xact_lock(:lock)", {"lock": _LOCK})
    # The lock was waited for: from here on each statement sees what the one before has left.
    state = schema_state(connection)
    require_ours(state)
    _require_fit(connection)
    run = connection.link.run
    try:
        run(
            f"CREATE TABLE IF NOT EXISTS {_RECORD}"
            ' (name TEXT COLLATE "C" PRIMARY KEY, taken_at TIMESTAMPTZ NOT NULL DEFAULT now())'
        )
        for name, sql in STEPS:
            if name in state.pending:
                run(sql)
                connection.execute(f"INSERT INTO {_RECORD} (name) VALUES (:name)", {"name": name})  # noqa: S608  # nosec B608  # a constant
        _index_search(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StorageUnavailable(
            "The role may not make the tables; let it own the database, or grant it CREATE on the"
            " schema."
        ) from error
    return list(state.pending)


def _require_fit(connection: PostgresConnection) -> None:
    found = connection.execute(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),"
        " current_schema()"
    ).fetchone()
    if found[0] < OLDEST:
        raise ConfigurationError("PostgreSQL 13 or newer is needed.")
    if found[1] != "UTF8":
        raise ConfigurationError(
            "The database must have the encoding UTF8; make another one with:"
            " createdb --encoding=UTF8 --template=template0."
        )
    if found[2] is None:
        raise ConfigurationError("The role has no schema in its search_path to make tables in.")


def _index_search(connection: PostgresConnection) -> None:
    """The index by which part of a user id is found; without its extension every id is read."""
    link = connection.link
    link.run("SAVEPOINT search")
    try:
        if connection.execute("SELECT to_regclass('tenant_search_by_part') IS NULL").fetchone()[0]:
            link.run(SEARCH_INDEX)
    except psycopg.Error as error:
        if not isinstance(
            error,
            psycopg.errors.InsufficientPrivilege
            | psycopg.errors.UndefinedFile
            | psycopg.errors.FeatureNotSupported
            | psycopg.errors.UndefinedObject,
        ):
            raise
        link.run("ROLLBACK TO SAVEPOINT search")


OLDEST = 130_000
_HAS_RECORD = "SELECT to_regclass(quote_ident(current_schema()) || '.' || :name) IS NOT NULL"
# Tables of extensions are nobody's.
_HAS_TABLES = """
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    LIMIT 1
"""
