"""Removes old turns of one session, a bounded part at a time."""

from __future__ import annotations

from webapp.memory.ageing import store
from webapp.memory.ageing.store import OldSession
from webapp.memory.ageing.turns import first_to_stay
from webapp.memory.summaries import store as summaries
from webapp.storage import Connection
from webapp.storage.slices import ROWS
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters


def drop_old_part(
    connection: Connection, session: OldSession, before_ms: int, most: int = ROWS
) -> tuple[int, bool]:
    """Takes about `most` messages of turns from before then; how many went, and whether all have.

    System messages from before then go with the turns behind them.
    """
    tenants.hold(connection, session.tenant)
    end, done = old_until(connection, session, before_ms, most)
    gone = store.drop_before(connection, session, end, before_ms)
    if gone:
        counters.count_messages(connection, session.tenant, -gone)
        # It may tell what was said in them.
        summaries.drop_session(connection, session.tenant, session.number)
    store.drop_empty(connection, session)
    return gone, done


def old_until(
    connection: Connection, session: OldSession, before_ms: int, most: int
) -> tuple[int, bool]:
    """The number below which messages are too old, and whether no other ones are."""
    while True:
        rows = store.oldest_messages(connection, session, most)
        whole = len(rows) < most
        end, done = first_to_stay(rows, before_ms, whole=whole)
        if end is not None or not rows:
            return end or 0, done
        most *= 2
