"""Clears conversations in parts, each of which leaves every counter right; permissions are not
here.

The last parts of a tenant also take the runs of its workflows, the answers kept for its idempotency
keys and the turns that wait for approval: they are the same words.
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.clearing import store
from webapp.memory.kept_answers import store as kept_answers
from webapp.memory.paused_turns import store as paused_turns
from webapp.memory.sessions import store as sessions
from webapp.memory.sessions.store import SessionSummary
from webapp.memory.workflow_runs import store as workflow_runs
from webapp.storage import Connection
from webapp.storage.slices import ROWS
from webapp.tenants import store as tenants
from webapp.tenants.activity import store as activity
from webapp.tenants.counters import store as counters

TENANTS = 500
RUNS = 100  # of workflows, each with its steps


@dataclass(frozen=True, slots=True)
class ClearedPart:
    """The outcome of one part: messages removed, tenants cleared, and the place `after` which to go
    on."""

    messages: int = 0
    tenants: int = 0
    finished: bool = True
    after: int = 0


@dataclass(frozen=True, slots=True)
class NamedPart:
    """The outcome of one part of what bears a session's name: whether there was anything, and
    whether none is left."""

    found: bool
    finished: bool


def clear_part(connection: Connection, tenant: int, most: int = ROWS) -> ClearedPart:
    """Takes about `most` messages of the tenant; session state stays, and with it the session."""
    tenants.hold(connection, tenant)
    gone, finished = store.clear_part(connection, tenant, most)
    if not finished:
        counters.count_messages(connection, tenant, -gone)
        return ClearedPart(gone, 0, finished=False)
    if workflow_runs.drop_some(connection, tenant, RUNS) == RUNS:
        counters.count_messages(connection, tenant, -gone)
        return ClearedPart(gone, 0, finished=False)
    kept_answers.clear(connection, tenant)
    paused_turns.clear(connection, tenant)
    counters.no_messages(connection, tenant)
    return ClearedPart(gone, 1)


def clear_session_part(
    connection: Connection, tenant: int, session: SessionSummary, most: int = ROWS
) -> ClearedPart:
    """Takes about `most` messages of one session; the session and its title stay."""
    tenants.hold(connection, tenant)
    gone, finished = store.clear_session_part(connection, tenant, session.number, most)
    counters.count_messages(connection, tenant, -gone)
    if finished:
        finished = _drop_named(connection, tenant, session.session_id).finished
    return ClearedPart(gone, 0, finished)


def clear_unlisted_part(connection: Connection, tenant: int, session_id: str) -> NamedPart:
    """Takes what bears the name of a session that there is not."""
    tenants.hold(connection, tenant)
    return _drop_named(connection, tenant, session_id)


def forget_session_part(
    connection: Connection, tenant: int, session: SessionSummary, most: int = ROWS
) -> ClearedPart:
    """The same, and behind the last message the session goes with its state.

    It is counted, so that a turn which has read it can tell that it did not merely lose its
    messages.
    """
    part = clear_session_part(connection, tenant, session, most)
    if part.finished:
        sessions.drop(connection, tenant, session.number)
        counters.count_forgotten_session(connection, tenant)
    return part


def _drop_named(connection: Connection, tenant: int, session_id: str) -> NamedPart:
    """Takes some of the session's runs, its kept answers and the turn that waits."""
    runs = workflow_runs.drop_of_session(connection, tenant, session_id, RUNS)
    kept_answers.clear_session(connection, tenant, session_id)
    waited = paused_turns.clear_session(connection, tenant, session_id)
    return NamedPart(waited or runs > 0, runs < RUNS)


def clear(connection: Connection, tenant: int) -> int:
    """All of the tenant's messages in one transaction; how many there were."""
    gone = 0
    while True:
        part = clear_part(connection, tenant)
        gone += part.messages
        if part.finished:
            return gone


def clear_all_part(connection: Connection, after: int, most: int = ROWS) -> ClearedPart:
    """Takes about `most` messages of the tenants numbered above `after`, in their order."""
    found = counters.with_messages(connection, after, TENANTS)
    gone = clear_by_now = 0
    for tenant in found:
        part = clear_part(connection, tenant.number, most - gone)
        gone += part.messages
        if not part.finished:
            return ClearedPart(gone, clear_by_now, finished=False, after=after)
        clear_by_now += 1
        after = tenant.number
        if gone >= most:
            return ClearedPart(gone, clear_by_now, finished=False, after=after)
    if len(found) == TENANTS:
        return ClearedPart(gone, clear_by_now, finished=False, after=after)
    # Those of tenants whose messages went by another way, such as a smaller cap.
    left = max(kept_answers.clear_left(connection, most), paused_turns.clear_left(connection, most))
    runs = workflow_runs.drop_left(connection, RUNS)
    finished = left < most and runs < RUNS
    return ClearedPart(gone, clear_by_now, finished=finished, after=after)


def clear_inactive(connection: Connection, before_ms: int, limit: int) -> int:
    """Clears at most `limit` tenants that were last active before then; returns how many."""
    silent = activity.silent_with_messages(connection, before_ms, limit)
    for tenant in silent:
        clear(connection, tenant)
    return len(silent)
