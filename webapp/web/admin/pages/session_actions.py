"""Acts on one session: rename, clear, forget; what cannot be undone asks first."""

from __future__ import annotations

from http import HTTPStatus

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.privacy import HIDDEN
from webapp.accounts.roles import Permission
from webapp.errors import Forbidden, InvalidInput, NotFound
from webapp.tenants.notes import AuditNote
from webapp.web.admin.display.format import plural
from webapp.web.admin.forms.double_submit import act_once
from webapp.web.admin.pages.sessions import session_page
from webapp.web.admin.pages.tenant_actions import cleared
from webapp.web.admin.session.visitor import visitor
from webapp.web.audited import audited
from webapp.web.context import services


def rename(user_id: str, session_id: str) -> ResponseReturnValue:
    if not visitor().may(Permission.READ_CONVERSATIONS):
        raise Forbidden(HIDDEN, code="conversations_hidden")
    title = request.form.get("title", "").strip()
    try:
        services().sessions.rename(user_id, session_id, title or None, audit=audited())
    except InvalidInput as error:
        page = session_page(user_id, session_id, typed=title, fault=error.fields["title"])
        return page, HTTPStatus.BAD_REQUEST
    flash(
        "The title is saved, and stays."
        if title
        else "The title is again the one made from the first question.",
        "success",
    )
    return _to_session(user_id, session_id)


def clear_page(user_id: str, session_id: str) -> ResponseReturnValue:
    return _asking("admin/session_clear.html", user_id, session_id)


def clear(user_id: str, session_id: str) -> ResponseReturnValue:
    services().sessions.get(user_id, session_id)  # a page whose session is gone says so
    said = act_once(
        lambda audit: services().sessions.clear(user_id, session_id, audit=audit), cleared
    )
    if said is None:
        raise NotFound("There is no such session.")
    flash(said, "success")
    if not visitor().may(Permission.READ_CONVERSATIONS):
        return _to_tenant(user_id)
    return _to_session(user_id, session_id)


def forget_page(user_id: str, session_id: str) -> ResponseReturnValue:
    return _asking("admin/session_forget.html", user_id, session_id)


def forget(user_id: str, session_id: str) -> ResponseReturnValue:
    said = act_once(
        lambda audit: services().sessions.forget(user_id, session_id, audit=audit), _forgotten
    )
    flash(said or "There was nothing to forget.", "success")
    return _to_tenant(user_id)


def _asking(template: str, user_id: str, session_id: str) -> str:
    tenant = services().directory.get(user_id)
    session = services().sessions.get(user_id, session_id)
    return render_template(template, tenant=tenant, session=session)


def _forgotten(note: AuditNote) -> str:
    return f"The session is forgotten: {plural(note.before['messages'], 'message')} are gone."


def _to_session(user_id: str, session_id: str) -> ResponseReturnValue:
    address = url_for("admin.session", user_id=user_id, session_id=session_id)
    return redirect(address, HTTPStatus.SEE_OTHER)


def _to_tenant(user_id: str) -> ResponseReturnValue:
    return redirect(url_for("admin.tenant", user_id=user_id), HTTPStatus.SEE_OTHER)
