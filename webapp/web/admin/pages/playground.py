"""The playground: talk to the agent as a tenant, through the same service as everybody.

A turn here is a real one: queue, limits, budget and metrics hold, and the audit log says who
ran it. The entry is written before the turn, so that a failed turn has one too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.audit import AuditEntry
from webapp.agent import Approval, PendingCall
from webapp.agent.approvals import MAX_REASON_CHARS
from webapp.chat.approvals import waiting_in
from webapp.chat.values import ChatTurn
from webapp.errors import InvalidInput, Refused, SwitchboardError
from webapp.ids import DEFAULT_SESSION, check_session_id, check_user_id
from webapp.memory.paging.conversation import conversation
from webapp.messages import Message
from webapp.storage import Connection
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.turns import Cancellation
from webapp.usage.records import RequestRecord
from webapp.usage.store import latest_requests
from webapp.web.admin.session.visitor import actor
from webapp.web.context import context, services
from webapp.web.hang_up import HangUp
from webapp.web.turn import admit, stream_turn

ROUTE = "playground"
MESSAGES = 30


def playground() -> ResponseReturnValue:
    return _page(request.args.get("user_id", ""), request.args.get("session_id", ""))


def send() -> ResponseReturnValue:
    """A whole turn, for browsers without scripts; a failed one shows what was typed again."""
    form = request.form
    try:
        turn = _turn()
        _write_down(turn)
        admit(turn)
        services().chat.reply(turn)
    except SwitchboardError as error:
        page = _page(
            form.get("user_id", ""),
            form.get("session_id", ""),
            fault=error.message,
            message=form.get("message", ""),
        )
        response = make_response(page, error.status)
        if isinstance(error, Refused):
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    return redirect(
        url_for("admin.playground", user_id=turn.user_id, session_id=turn.session_id),
        HTTPStatus.SEE_OTHER,
    )


def decide() -> ResponseReturnValue:
    """Approves or refuses one call that waits, and lets the turn go on, whole."""
    form = request.form
    try:
        turn = _turn(approvals=(_decision(),))
        _write_down(turn)
        admit(turn)
        services().chat.reply(turn)
    except SwitchboardError as error:
        page = _page(form.get("user_id", ""), form.get("session_id", ""), fault=error.message)
        return make_response(page, error.status)
    return redirect(
        url_for("admin.playground", user_id=turn.user_id, session_id=turn.session_id),
        HTTPStatus.SEE_OTHER,
    )


def stream() -> ResponseReturnValue:
    """The same turn as server-sent events."""
    hang_up = HangUp.of_request()
    turn = _turn(hang_up)
    _write_down(turn)
    admit(turn)
    return stream_turn(turn, hang_up.closed)


def _decision() -> Approval:
    form = request.form
    if form.get("decision") not in ("approve", "refuse"):
        raise InvalidInput("Approve or refuse the call.")
    reason = form.get("reason", "").strip()[:MAX_REASON_CHARS]
    return Approval(form.get("call_id", ""), form["decision"] == "approve", reason)


def _turn(cancel: Cancellation | None = None, approvals: tuple[Approval, ...] = ()) -> ChatTurn:
    form = request.form
    turn = ChatTurn(
        user_id=check_user_id(form.get("user_id", "")),
        message=form.get("message", "").replace("\r\n", "\n"),
        approvals=approvals,
        request_id=context().request_id,
        started=context().started,
        session_id=check_session_id(form.get("session_id") or DEFAULT_SESSION),
        route=ROUTE,
        cancel=cancel,
        span=context().span,
    )
    services().chat.check(turn)
    return turn


def _write_down(turn: ChatTurn) -> None:
    stored_id, by, clock = services().user_ids.stored(turn.user_id), actor(), services().clock
    log = services().audit
    decided = {"approved": turn.approvals[0].approved} if turn.approvals else {}

    def work(connection: Connection) -> None:
        number = tenants.ensure(connection, stored_id, clock.now_ms(), user_id=turn.user_id)
        log.record(connection, AuditEntry(by, "playground_turn", number, after=decided))

    services().database.write(work)


def _page(user_id: str, session_id: str, *, fault: str = "", message: str = "") -> str:
    messages, latest, calls = _conversation(user_id, session_id or DEFAULT_SESSION)
    with services().database.read() as connection:
        agent = services().configurations.current(connection)
    return render_template(
        "admin/playground.html",
        user_id=user_id[:255],
        session_id=session_id[:255],
        messages=messages,
        pending_calls=[_shown(call) for call in calls],
        usage=latest,
        latency_ms=latest.latency_ms if latest else None,
        message=message,
        agent=agent,
        message_max_chars=services().settings.message_max_chars,
        fault=fault,
    )


def _shown(call: PendingCall) -> dict[str, str]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False, indent=2)
    return {"id": call.id, "name": call.name, "arguments": arguments}


def _conversation(
    user_id: str, session_id: str
) -> tuple[list[Message], RequestRecord | None, Sequence[PendingCall]]:
    """The conversation, the newest turn's record if it was run here, and the calls that wait."""
    try:
        number = services().directory.number(check_user_id(user_id)) if user_id else None
    except InvalidInput:
        number = None
    if number is None:
        return [], None, ()
    with services().database.read() as connection:
        narrow(connection, number)
        talk = conversation(connection, number, session_id, limit=MESSAGES, from_end=True)
        latest = latest_requests(connection, number, 1)
        waits = waiting_in(connection, number, session_id, services().clock.now_ms())
    mine = latest[0] if latest and latest[0].route == ROUTE else None
    return [stored.message for stored in talk.messages], mine, waits.calls if waits else ()
