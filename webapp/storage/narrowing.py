"""Narrows a unit of work to one tenant: a second wall behind the WHERE of every statement."""

from __future__ import annotations

from webapp.storage.database import Ask, Connection


def narrow(connection: Connection, tenant: int) -> None:
    """From here to its end, the unit of work sees and changes rows of this tenant alone.

    PostgreSQL keeps to it by row-level security, whatever a statement says or forgets. SQLite has
    no such thing, and relies on the statements.
    """
    narrowed = getattr(connection, "narrow", None)
    if narrowed is not None:
        narrowed(tenant)


def widen(connection: Connection) -> None:
    """From here on it sees everyone's rows again: for work on one tenant after the other."""
    widened = getattr(connection, "widen", None)
    if widened is not None:
        widened()


def narrowed_to(tenant: int) -> Ask:
    """The same among questions that are asked of a server together: for those behind it."""
    return NARROW, {"tenant": str(tenant)}


NARROW = "SELECT set_config('switchboard.tenant', :tenant, true)"
