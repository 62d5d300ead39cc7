"""Tells which application's database a file holds, and its version, by its migrations table."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from webapp.errors import SchemaOutOfDate, SchemaTooNew, StorageUnavailable
from webapp.storage.steps import in_the_way

_SET = "switchboard"
_RECORD = "_sqlite_migrations"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The steps that are missing, and those that only a newer version knows."""

    pending: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    foreign: bool = False
    empty: bool = False


def schema_state(connection: sqlite3.Connection) -> SchemaState:
    known = _known_steps()
    tables = {
        row[0]
        for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
            " ESCAPE '\\'"
        )
    }
    if not tables:
        return SchemaState(known, empty=True)
    if _RECORD not in tables:
        return SchemaState(known, foreign=True)
    taken = {
        row[0]
        for row in connection.execute(
            f"SELECT name FROM {_RECORD} WHERE migration_set = ?",  # noqa: S608  # nosec B608  # a constant
            (_SET,),
        )
    }
    return SchemaState(
        tuple(name for name in known if name not in taken),
        tuple(sorted(taken - set(known))),
        foreign=not taken,
    )


def require_ours(state: SchemaState, path: Path) -> None:
    """Raises `SchemaTooNew`, or `StorageUnavailable` for another application's database."""
    if state.foreign:
        raise StorageUnavailable(
            f"{path.name} is a database of another application; name another file in"
            " SWITCHBOARD_DATABASE_URL.",
            part="foreign",
        )
    newer = in_the_way(state.unknown)
    if newer:
        raise SchemaTooNew(
            f"The database belongs to a newer version of Switchboard ({newer[-1]}); use"
            " that version or a newer one, or restore a backup that this one made."
        )


def require_current(state: SchemaState, path: Path) -> None:
    require_ours(state, path)
    if state.pending:
        raise SchemaOutOfDate("The database's schema is old; run: switchboard db upgrade.")


def missing_parts(connection: sqlite3.Connection) -> list[str]:
    """The tables, indexes and triggers of the newest schema that somebody has taken away."""
    from sqlite_utils import Database

    from webapp.storage.sqlite.migrations import migrations

    made = Database(memory=True)
    try:
        migrations.apply(made)
        return sorted(_parts(made.conn) - _parts(connection))
    finally:
        made.close()


def _parts(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")
    return {f"{kind} {name}" for kind, name in found}


@cache
def _known_steps() -> tuple[str, ...]:
    from sqlite_utils import Database

    from webapp.storage.sqlite.migrations import migrations

    empty = Database(memory=True)
    try:
        return tuple(step.name for step in migrations.pending(empty))
    finally:
        empty.close()
