"""Drops a tenant's least recently active sessions until it keeps to its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from webapp.memory.clearing import store as clearing
from webapp.memory.clearing.parts import RUNS
from webapp.memory.kept_answers import store as kept_answers
from webapp.memory.limiting import store
from webapp.memory.limiting.limits import NOTHING_DROPPED, Dropped, TenantLimits
from webapp.memory.limiting.store import Candidate
from webapp.memory.paused_turns import store as paused_turns
from webapp.memory.sessions import store as sessions
from webapp.memory.workflow_runs import store as workflow_runs
from webapp.storage import Connection
from webapp.storage.slices import ROWS
from webapp.tenants.counters import store as counters

AT_ONCE = 200


def make_room(
    connection: Connection,
    tenant: int,
    limits: TenantLimits,
    messages: int,
    *,
    session_count: int = 0,
    keep: str | None = None,
    most: int = ROWS,
) -> Dropped:
    """Drops whole sessions of a tenant that has so many messages and sessions, the least recently
    active first, never the one named `keep`.

    About `most` rows at once: what is left goes with the next turns, or with the clean-up.
    """
    over = Over.of(limits, session_count, messages)
    if not over:
        return NOTHING_DROPPED
    gone = NOTHING_DROPPED
    # Where sessions are not over, an empty one is in nobody's way.
    oldest = store.oldest(connection, tenant, keep, AT_ONCE, least=int(over.sessions == 0))
    for session in over.chosen(oldest):
        if gone.sessions and gone.messages + gone.sessions + session.messages > most:
            break
        if workflow_runs.drop_of_session(connection, tenant, session.session_id, RUNS) == RUNS:
            break  # it has so many that the next one goes on with them
        messages_gone = clearing.drop_messages(connection, tenant, session.number)
        sessions.drop(connection, tenant, session.number)
        kept_answers.clear_session(connection, tenant, session.session_id)
        paused_turns.clear_session(connection, tenant, session.session_id)
        gone += Dropped(1, messages_gone)
    if gone.sessions:
        counters.count_dropped(connection, tenant, gone.sessions, gone.messages)
    return gone


class Over:
    """By how many sessions and messages a tenant is over its limits."""

    def __init__(self, sessions: int, messages: int) -> None:
        self.sessions = sessions
        self.messages = messages

    @classmethod
    def of(cls, limits: TenantLimits, sessions: int, messages: int) -> Over:
        return cls(
            max(0, sessions - limits.sessions) if limits.sessions else 0,
            max(0, messages - limits.messages) if limits.messages else 0,
        )

    def __bool__(self) -> bool:
        return self.sessions > 0 or self.messages > 0

    def chosen(self, oldest: Iterable[Candidate]) -> Iterator[Candidate]:
        """Those that must go, of all in the order of their last activity; counts them down."""
        for session in oldest:
            if not self:
                return
            if session.messages or self.sessions:
                self.sessions -= 1
                self.messages -= session.messages
                yield session
