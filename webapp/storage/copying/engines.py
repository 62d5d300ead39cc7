"""Finds what copying must know of a database's engine."""

from __future__ import annotations

from webapp.storage.copying.of_postgres import PostgresTables
from webapp.storage.copying.of_sqlite import SQLiteTables
from webapp.storage.copying.tables import Engine
from webapp.storage.database import SERVER_SCHEMES, Database


def engine_of(database: Database) -> Engine:
    return PostgresTables() if database.url.startswith(SERVER_SCHEMES) else SQLiteTables()
