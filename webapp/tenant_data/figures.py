"""Counts what an act would remove, for the page that asks before it; removes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.sessions import store as sessions
from webapp.storage import Connection
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.usage.of_tenant import store as usage


@dataclass(frozen=True, slots=True)
class Figures:
    """The amounts of one tenant's data, or of all; `tenants` counts those with any message."""

    messages: int
    sessions: int
    requests: int = 0
    tenants: int = 1


def of_tenant(connection: Connection, number: int) -> Figures:
    """Counts index entries of one tenant."""
    tenant = tenants.find_number(connection, number)
    return Figures(
        0 if tenant is None else tenant.message_count,
        sessions.count(connection, number),
        usage.count_requests(connection, number),
    )


def of_all(connection: Connection) -> Figures:
    """Walks two indexes from end to end: call it through `read_long`."""
    messages, of_tenants = counters.messages_of_all(connection)
    return Figures(messages, sessions.count_with_messages(connection), tenants=of_tenants)
