"""Narrows a unit of work to one tenant: a second wall behind the WHERE of every statement."""

from __future__ import annotations

from webapp.storage.database import Connection


def narrow(connection: Connection, tenant: int) -> None:
    """From here to its end, the unit of work sees and changes rows of this tenant alone.

    PostgreSQL keeps to it by row-level security, whatever a statement says or forgets. SQLite has
    no such thing, and relies on the statements.
    """
    narrowed = getattr(connection, "narrow", None)
    if narrowed is not None:
        narrowed(tenant)
