"""Which engine a connection belongs to, for the few statements that differ; no SQL here."""

from __future__ import annotations

from typing import Literal

from webapp.storage.database import Connection

Engine = Literal["sqlite", "postgres"]


def engine_of(connection: Connection) -> Engine:
    """SQLite's connections are the driver's own and carry no mark."""
    engine: Engine = getattr(connection, "engine", "sqlite")
    return engine
