"""Pages through what a tenant and the agent said, for people; the agent reads memory/history/."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from webapp.errors import InvalidInput
from webapp.memory.paging.store import Position, StoredMessage, message_page
from webapp.storage import Connection

MAX_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Behind a message when it is `forward`, else before it: see `Position`."""

    forward: bool
    session: int
    seq: int


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some messages, oldest first, and where the later and the earlier ones begin."""

    messages: tuple[StoredMessage, ...]
    later: Place | None = None
    earlier: Place | None = None


def conversation(
    connection: Connection,
    tenant: int,
    session_id: str | None = None,
    *,
    limit: int = 50,
    place: Place | None = None,
    from_end: bool = False,
) -> ConversationPage:
    """A page of one session, or of all, each session's messages together.

    Without a place it is the first page, or with `from_end` the last. A place of another tenant
    gives nothing of that tenant's.
    """
    if not 1 <= limit <= MAX_LIMIT:
        sentence = f"limit must be from 1 to {MAX_LIMIT}"
        raise InvalidInput(sentence, fields={"limit": sentence})
    backward = from_end if place is None else not place.forward
    position = None if place is None else Position(place.session, place.seq)
    found = message_page(
        connection,
        tenant,
        session_id,
        limit + 1,
        after=None if backward else position,
        before=position if backward else None,
        newest_first=backward,
    )
    more = len(found) > limit
    found = found[:limit]
    if backward:
        found.reverse()
    if not found:
        return ConversationPage(())
    has_next = position is not None if backward else more
    has_previous = more if backward else position is not None
    return ConversationPage(
        tuple(found),
        Place(True, *astuple(found[-1].position)) if has_next else None,
        Place(False, *astuple(found[0].position)) if has_previous else None,
    )
