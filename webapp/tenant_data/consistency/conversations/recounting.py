"""Compares a session's counters with its messages."""

from __future__ import annotations

from collections.abc import Iterator

from webapp.storage import Connection
from webapp.tenant_data.consistency.conversations import store
from webapp.tenant_data.consistency.findings import Mismatch


def wrong_sessions(connection: Connection, which: store.Slice) -> Iterator[Mismatch]:
    """Each counter of a session that does not say what its messages do."""
    for session in store.doubtful_sessions(connection, which):
        if session.message_count != session.messages:
            yield Mismatch(
                session.tenant,
                "message_count",
                session.message_count,
                session.messages,
                session.number,
            )
        if _is_wrong(session):
            yield Mismatch(
                session.tenant, "last_seq", session.last_seq, session.newest_seq, session.number
            )


def _is_wrong(session: store.Session) -> bool:
    """The newest number given is the newest message's, unless that message has left: system
    messages move to the front, and a turn that is larger than the cap keeps its question alone."""
    if not isinstance(session.last_seq, int) or session.last_seq < session.newest_seq:
        return True
    moved = session.systems > 0 or session.ends != "answer"
    return not moved and session.last_seq != session.newest_seq
