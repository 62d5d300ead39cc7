"""Acts that must not happen twice: a form's mark is taken in the transaction of its act."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from flask import request

from webapp.accounts import once_store as store
from webapp.errors import Conflict, NotFound
from webapp.storage import Connection
from webapp.tenants.notes import Audit, AuditNote
from webapp.web.audited import audited
from webapp.web.context import services

FIELD = "once"
_MARK = re.compile(r"[0-9]{13}-[0-9a-f]{24}", re.ASCII)
_AHEAD_MS = 60_000


class _AlreadyDone(Exception):
    """Rolls the second act back."""


def new_submission_id() -> str:
    """A mark for a form that is about to be shown."""
    return f"{services().clock.now_ms():013d}-{secrets.token_hex(12)}"


def submission_id() -> str | None:
    """The mark that came with the form; `Conflict` when it is too old to be known for used."""
    mark = request.form.get(FIELD, "")
    if not _MARK.fullmatch(mark):
        return None
    age = services().clock.now_ms() - int(mark[:13])
    if not -_AHEAD_MS <= age < store.KEPT_MS:
        raise Conflict("This page is too old to act from; open it again.", code="stale_form")
    return mark


def act_once(act: Callable[[Audit], object], say: Callable[[AuditNote], str]) -> str | None:
    """Acts, and gives the sentence about it; for a form that came twice the first one's.

    `act` gets what it must call in its transaction. None when it did not call it: then there was
    nothing to be done.
    """
    mark, write, said = submission_id(), audited(), ""
    # Asked for here: the transaction may run in another thread, which has no request.
    clock = services().clock

    def audit(connection: Connection, note: AuditNote) -> None:
        nonlocal said
        if note.begun:
            write(connection, note)
            return
        said = say(note)
        if mark is not None and not store.take(connection, mark, said, clock.now_ms()):
            raise _AlreadyDone
        write(connection, note)

    try:
        act(audit)
    except (_AlreadyDone, NotFound):
        earlier = earlier_outcome(mark)
        if earlier is None:
            raise
        return earlier
    return said or earlier_outcome(mark)


def claim(mark: str | None) -> bool:
    """Takes the mark by itself, for an act that writes its own entry; False when it was taken."""
    if mark is None:
        return True
    now = services().clock.now_ms()
    return services().database.write(lambda connection: store.take(connection, mark, "", now))


def earlier_outcome(mark: str | None) -> str | None:
    """What the form with this mark led to before."""
    if mark is None:
        return None
    with services().database.read() as connection:
        return store.outcome(connection, mark)
