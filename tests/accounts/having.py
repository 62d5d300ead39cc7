"""Whether an account has a password, as its stored hash says."""

from __future__ import annotations

from webapp.accounts.admins import store
from webapp.accounts.admins.passwords import Passwords
from webapp.storage import Database


def has_password(database: Database, name: str, password: str) -> bool:
    with database.read() as connection:
        row = store.by_name(connection, name)
    return Passwords().matches(password, row[6] if row else None)
