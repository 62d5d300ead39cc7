"""Whether a database has served real users, noted in it by `serve` for `dev` to respect."""

from __future__ import annotations

from webapp.storage.database import Connection

_NAME = "served"


def note_production(connection: Connection) -> None:
    """From now on this is a production database."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, '1') ON CONFLICT (name) DO NOTHING",
        {"name": _NAME},
    )


def is_production(connection: Connection) -> bool:
    """Whether `serve` has ever used it."""
    found = connection.execute("SELECT 1 FROM meta WHERE name = :name", {"name": _NAME})
    return found.fetchone() is not None
