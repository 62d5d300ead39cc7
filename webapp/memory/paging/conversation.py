"""Pages through what a tenant and the agent said, for people; the agent reads memory/history/."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from webapp.errors import InvalidInput
from webapp.memory.paging.store import Position, StoredMessage, message_page
from webapp.storage import Connection

MAX_LIMIT = 200
_MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some messages, oldest first; the cursors lead to the later and the earlier ones."""

    messages: tuple[StoredMessage, ...]
    next_cursor: str | None = None
    previous_cursor: str | None = None


def conversation(
    connection: Connection,
    tenant: int,
    session_id: str | None = None,
    *,
    limit: int = 50,
    cursor: str | None = None,
    from_end: bool = False,
) -> ConversationPage:
    """A page of one session, or of all, each session's messages together.

    Without a cursor it is the first page, or with `from_end` the last. `InvalidInput` for a
    cursor that was not made for this tenant and session.
    """
    if not 1 <= limit <= MAX_LIMIT:
        sentence = f"limit must be from 1 to {MAX_LIMIT}"
        raise InvalidInput(sentence, fields={"limit": sentence})
    place = None if cursor is None else _read(cursor, tenant, session_id)
    backward = from_end if place is None else not place[0]
    position = None if place is None else place[1]
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
        _write(True, found[-1].position, tenant, session_id) if has_next else None,
        _write(False, found[0].position, tenant, session_id) if has_previous else None,
    )


def _write(forward: bool, at: Position, tenant: int, session_id: str | None) -> str:
    place = [_fingerprint(tenant, session_id), int(forward), at.session, at.seq]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _read(cursor: str, tenant: int, session_id: str | None) -> tuple[bool, Position]:
    sentence = "cursor belongs to another list; leave it out to begin again"
    foreign = InvalidInput(sentence, fields={"cursor": sentence})
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        fingerprint, forward, session, seq = place
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise foreign from None
    if fingerprint != _fingerprint(tenant, session_id):
        raise foreign
    for number in (session, seq):
        if type(number) is not int or not 0 <= number <= _MAX_NUMBER:
            raise foreign
    return forward == 1, Position(session, seq)


def _fingerprint(tenant: int, session_id: str | None) -> str:
    asked = json.dumps([tenant, session_id])
    return hashlib.blake2s(asked.encode(), digest_size=6).hexdigest()
