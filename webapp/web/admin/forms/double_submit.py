"""Double submits: a form has an id, which is stored in the transaction of its act."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from flask import request

from webapp.accounts import submissions
from webapp.errors import Conflict, NotFound
from webapp.storage import Connection
from webapp.tenants.notes import Audit, AuditNote
from webapp.web.audited import audited
from webapp.web.context import services

FIELD = "once"
_FORM_ID = re.compile(r"[0-9]{13}-[0-9a-f]{24}", re.ASCII)
_AHEAD_MS = 60_000


class _AlreadyDone(Exception):
    """The form was sent before; raised inside the transaction, it rolls the second act back."""


def new_submission_id() -> str:
    """The id for a form that is about to be shown: the time, and random digits."""
    return f"{services().clock.now_ms():013d}-{secrets.token_hex(12)}"


def submission_id() -> str | None:
    """The id that came with the form; None without one.

    Raises `Conflict` when it is so old that used ids of its time are no longer stored.
    """
    form_id = request.form.get(FIELD, "")
    if not _FORM_ID.fullmatch(form_id):
        return None
    age = services().clock.now_ms() - int(form_id[:13])
    if not -_AHEAD_MS <= age < submissions.KEPT_MS:
        raise Conflict("This page is too old to act from; open it again.", code="stale_form")
    return form_id


def act_once(act: Callable[[Audit], object], say: Callable[[AuditNote], str]) -> str | None:
    """Acts, and gives the sentence about it; for a form that came twice, the first sentence.

    `act` calls the function it is given in its transaction. When it does not call it, there was
    nothing to do, and the result is None.
    """
    form_id, write, said = submission_id(), audited(), ""
    # Asked for here: the transaction may run in another thread, which has no request.
    clock = services().clock

    def audit(connection: Connection, note: AuditNote) -> None:
        nonlocal said
        if note.begun:
            write(connection, note)
            return
        said = say(note)
        if form_id is not None and not submissions.take(connection, form_id, said, clock.now_ms()):
            raise _AlreadyDone
        write(connection, note)

    try:
        act(audit)
    except (_AlreadyDone, NotFound):
        earlier = earlier_outcome(form_id)
        if earlier is None:
            raise
        return earlier
    return said or earlier_outcome(form_id)


def claim(form_id: str | None) -> bool:
    """Stores the id in a transaction of its own; False when the form was sent before."""
    if form_id is None:
        return True
    now = services().clock.now_ms()
    return services().database.write(
        lambda connection: submissions.take(connection, form_id, "", now)
    )


def earlier_outcome(form_id: str | None) -> str | None:
    """The sentence that the form with this id was answered with before; None if it is new."""
    if form_id is None:
        return None
    with services().database.read() as connection:
        return submissions.outcome(connection, form_id)
