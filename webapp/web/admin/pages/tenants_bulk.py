"""Acts on several tenants at once, and on all: asked for, confirmed, done in one transaction."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.roles import Permission
from webapp.tenant_data.figures import of_all
from webapp.tenants.notes import AuditNote
from webapp.web.admin.display.format import plural
from webapp.web.admin.forms.binding import FormShape, bind_form, selected_users
from webapp.web.admin.forms.double_submit import act_once, claim, submission_id
from webapp.web.admin.paths import is_own_path
from webapp.web.admin.session.guard import require
from webapp.web.audited import audited
from webapp.web.context import services

WORDS = "clear all tenants"


class Selection(FormShape):
    action: Literal["clear", "block", "unblock"]
    confirm: str = ""
    next: str = ""

    @property
    def back(self) -> str:
        return self.next if is_own_path(self.next) else url_for("admin.tenants")


def bulk() -> ResponseReturnValue:
    """Asks first; acts when the form of that question is sent."""
    form, users = bind_form(Selection), selected_users()
    require(Permission.CLEAR_TENANT if form.action == "clear" else Permission.CHANGE_TENANT)
    if form.confirm != "yes":
        return _question(form, users)
    if not claim(submission_id()):
        flash("This was done already; it was not done twice.", "info")
    elif form.action == "clear":
        messages, known = services().acts.clear_each(users, audit=audited())
        flash(f"Cleared {plural(messages, 'message')} of {plural(known, 'tenant')}.", "success")
    else:
        blocked = form.action == "block"
        known = services().directory.block_each(users, blocked, audit=audited())
        flash(f"{'Blocked' if blocked else 'Unblocked'} {plural(known, 'tenant')}.", "success")
    return redirect(form.back, HTTPStatus.SEE_OTHER)


def clear_all_page() -> ResponseReturnValue:
    return _ask_for_words()


def clear_all() -> ResponseReturnValue:
    typed = request.form.get("confirm", "")
    if typed.strip() != WORDS:
        fault = f"Type the words exactly: {WORDS}. Nothing was cleared."
        return make_response(_ask_for_words(typed[:200], fault), HTTPStatus.BAD_REQUEST)
    said = act_once(lambda audit: services().acts.clear_all(audit=audit), _cleared_all)
    flash(said or "There was nothing to clear.", "success")
    return redirect(url_for("admin.tenants"), HTTPStatus.SEE_OTHER)


def _question(form: Selection, users: list[str]) -> str:
    found = [services().directory.find(user_id) for user_id in users]
    tenants = [row for row in found if row is not None]
    return render_template(
        "admin/tenants_bulk.html",
        action=form.action,
        tenants=tenants,
        figures={"messages": sum(row.message_count for row in tenants)},
        missing=len(users) - len(tenants),
        next=form.back,
    )


def _ask_for_words(typed: str = "", fault: str = "") -> str:
    figures = services().database.read_long(of_all)
    return render_template(
        "admin/tenants_clear_all.html", figures=figures, typed=typed, fault=fault
    )


def _cleared_all(note: AuditNote) -> str:
    messages: int = note.before["messages"]
    tenants: int = note.before["tenants"]
    return f"Cleared {plural(messages, 'message')} of {plural(tenants, 'tenant')}."
