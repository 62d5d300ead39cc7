"""Compares every counter and sum with its rows, for `check --data`; mends nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from webapp.storage import Connection
from webapp.usage.figures import EVERYONE, REQUEST
from webapp.usage.sums.store import pending_by_tenant

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A tenant's counter that does not say what its rows do; `session` when it is a session's."""

    tenant: int
    counter: str
    said: int
    counted: int
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many mismatches there are, and the first of them."""

    count: int
    first: tuple[Mismatch, ...]


def compare(connection: Connection) -> Comparison:
    """Reads all tenants, sessions, messages and sums by day: call it through `read_long`."""
    found = [*_sessions(connection), *_messages(connection), *_usage(connection)]
    return Comparison(len(found), tuple(found[:SHOWN]))


def described(mismatch: Mismatch, name_of: Callable[[int], str | None]) -> str:
    """A sentence; `name_of` gives the readable user id of a tenant's number."""
    who = name_of(mismatch.tenant) or f"the tenant numbered {mismatch.tenant}"
    where = "" if mismatch.session is None else f" in session {mismatch.session}"
    return (
        f"{who}{where}: {mismatch.counter} says {mismatch.said}, the rows say {mismatch.counted}."
    )


def _sessions(connection: Connection) -> list[Mismatch]:
    rows = connection.execute(
        "SELECT s.tenant_id, s.message_count, COUNT(m.seq), s.session_id FROM sessions s"
        " LEFT JOIN messages m ON m.session = s.id"
        " GROUP BY s.id HAVING s.message_count <> COUNT(m.seq)"
    ).fetchall()
    return [Mismatch(row[0], "message_count", row[1], row[2], row[3]) for row in rows]


def _messages(connection: Connection) -> list[Mismatch]:
    rows = connection.execute(
        "SELECT t.id, t.message_count, COALESCE(SUM(s.message_count), 0) FROM tenants t"
        " LEFT JOIN sessions s ON s.tenant_id = t.id"
        " GROUP BY t.id HAVING t.message_count <> COALESCE(SUM(s.message_count), 0)"
    ).fetchall()
    return [Mismatch(row[0], "message_count", row[1], row[2]) for row in rows]


def _usage(connection: Connection) -> list[Mismatch]:
    """A tenant's counters are as old as it is, and so are its sums by day, which are kept; what
    is not in them yet is added."""
    rows = connection.execute(
        "SELECT t.id, t.request_count, COALESCE(SUM(u.requests), 0),"
        " t.error_count, COALESCE(SUM(u.errors), 0),"
        " t.refused_count, COALESCE(SUM(u.rate_limited), 0),"
        " t.input_tokens, COALESCE(SUM(u.input_tokens), 0),"
        " t.output_tokens, COALESCE(SUM(u.output_tokens), 0),"
        " t.total_tokens, t.input_tokens + t.output_tokens"
        " FROM tenants t LEFT JOIN usage u ON u.tenant_id = t.id AND u.period = 'day'"
        " AND u.measure = :request WHERE t.id <> :everyone GROUP BY t.id",
        {"request": REQUEST, "everyone": EVERYONE},
    ).fetchall()
    pending = pending_by_tenant(connection)
    nothing = (0,) * 5
    names = (
        *("request_count", "error_count", "rate_limited_count"),
        *("input_tokens", "output_tokens", "total_tokens"),
    )
    return [
        Mismatch(row[0], name, said, counted)
        for row in rows
        for name, said, summed, more in zip(
            names, row[1::2], row[2::2], (*pending.get(row[0], nothing), 0), strict=True
        )
        if said != (counted := summed + more)
    ]
