"""Finds what copying must know of a database's engine."""

from __future__ import annotations

from webapp.storage.copying.of_sqlite import SQLiteTables
from webapp.storage.copying.tables import Engine
from webapp.storage.database import Database


def engine_of(_database: Database) -> Engine:
    return SQLiteTables()
