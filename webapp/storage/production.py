"""Whether a database has served real users, noted in it by `serve` for `dev` to respect."""

from __future__ import annotations

from webapp.storage import meta
from webapp.storage.database import Connection

_NAME = "served"


def note_production(connection: Connection) -> None:
    """From now on this is a production database."""
    meta.put_first(connection, _NAME, "1")


def is_production(connection: Connection) -> bool:
    """Whether `serve` has ever used it."""
    return meta.value(connection, _NAME) is not None
