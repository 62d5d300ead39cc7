"""Compares every counter and sum with what is stored, while it is in use; mends nothing.

Tenants are read a slice at a time, each slice at one moment: turns go on in between, no read is
long, and memory does not grow with the number of tenants. Whatever is added up of a tenant is read
in the same slice as its counters, so that no turn can make them disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from webapp.storage import Connection, Database
from webapp.tenant_data.consistency.conversations import store as conversations
from webapp.tenant_data.consistency.conversations.recounting import wrong_sessions
from webapp.tenant_data.consistency.counters import store as counters
from webapp.tenant_data.consistency.counters.recounting import (
    Recount,
    kept_answers,
    recounted,
    wrong_counters,
)
from webapp.tenant_data.consistency.findings import Findings, Mismatch
from webapp.tenant_data.consistency.sums.recounting import (
    OF_EVERYONE,
    wrong_days_of_everyone,
    wrong_roll_up,
    wrong_sums,
)
from webapp.tenants import store as tenants
from webapp.tenants.search import store as search

TENANTS = 500
BEHIND_ALL = 2**62
Progress = Callable[[int, int], None]


def compare(database: Database, now_ms: int, progress: Progress | None = None) -> Findings:
    """Reads everything that is stored. `progress` is told how many tenants are done, and of how
    many. Raises `StorageUnavailable`."""
    findings = Findings()
    with database.read() as connection:
        total = tenants.count(connection)
        findings.add(wrong_roll_up(connection))
        findings.add(wrong_sums(connection, OF_EVERYONE, now_ms))
    after = 0
    while after < BEHIND_ALL:
        with database.read() as connection:
            after = _slice(connection, after, now_ms, findings)
        if progress is not None:
            progress(min(findings.tenants, total), total)
    findings.add(wrong_days_of_everyone(database))
    findings.add(
        Mismatch(tenant, "the index of the search", "another id", "this one")
        for tenant in database.read_long(search.out_of_step)
    )
    findings.add(_kept_answers(database))
    return findings


def _slice(connection: Connection, after: int, now_ms: int, findings: Findings) -> int:
    """Compares the next tenants; the number of the last, or the end."""
    page = counters.page(connection, after, TENANTS)
    last = page[-1].number if len(page) == TENANTS else BEHIND_ALL
    which = {"after": after, "last": last}
    spoken = conversations.of_tenants(connection, which)
    messages = {tenant: each.messages for tenant, each in spoken.items()}
    found = recounted(connection, which, messages)
    if any(each.wrong_sessions for each in spoken.values()):
        findings.add(wrong_sessions(connection, which))
    for said in page:
        recount = found.pop(said.number, None)
        findings.add(wrong_counters(said, recount or Recount()))
    findings.add(
        Mismatch(tenant, "its rows", "that they are there", "no tenant") for tenant in found
    )
    findings.add(wrong_sums(connection, which, now_ms))
    findings.tenants += len(page)
    findings.messages += sum(messages.values())
    return last


def _kept_answers(database: Database) -> Iterator[Mismatch]:
    place: Any = (0, "")
    while place is not None:
        with database.read() as connection:
            wrong, place = kept_answers(connection, place)
        yield from wrong
