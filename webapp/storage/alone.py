"""Keeps one act at a time: an act that reads and then writes by what it read holds a name first."""

from __future__ import annotations

from typing import Literal

from webapp.storage import meta
from webapp.storage.database import Connection

Name = Literal["accounts", "agent", "audit", "imports", "keys", "tries"]


def hold(connection: Connection, name: Name) -> None:
    """Holds the name until the transaction ends; another transaction that wants it waits here.

    SQLite lets one transaction write at a time anyway. An engine with several writers locks the
    row that this writes, so that what is read behind it is what the one before has left. `audit`
    comes last: who holds it asks for no other name.
    """
    meta.put(connection, f"held:{name}", "")
