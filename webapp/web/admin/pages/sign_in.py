"""Signing in by password or one-time link, signing out, and the choice of theme."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.admins import fold_name
from webapp.accounts.sign_in import NewSession
from webapp.accounts.sign_in.known_browsers import cookie_name
from webapp.errors import RateLimited, Unauthenticated
from webapp.web.admin.forms.draft import ACTION, CARRIED, draft_from_sign_in
from webapp.web.admin.layout.template_context import THEME_COOKIE, THEMES
from webapp.web.admin.paths import PREFIX, is_own_path
from webapp.web.admin.session.visitor import (
    actor,
    close_session,
    cookie_setter,
    signed_in,
    start_session,
    visitor,
)
from webapp.web.context import context, services

THEME_SECONDS = 365 * 86_400


def login_page() -> ResponseReturnValue:
    """The form; an admin who is signed in already is sent on."""
    wanted = _own(request.args.get("next"))
    if visitor().signed_in is not None:
        return redirect(wanted or url_for("admin.overview"), HTTPStatus.SEE_OTHER)
    return render_template("admin/login.html", error=None, name="", next=wanted, kept=())


def login() -> ResponseReturnValue:
    """Signs in and sends on; a form that was refused without a session is shown again."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    wanted = _own(request.form.get("next"))
    try:
        session = services().sign_in.with_password(
            name,
            password,
            address=_address(),
            browser=request.cookies.get(cookie_name(fold_name(name)), ""),
            request_id=context().request_id,
        )
    except (Unauthenticated, RateLimited) as error:
        page = render_template(
            "admin/login.html",
            error=error.message,
            name=name[:255],
            next=wanted,
            kept=tuple(
                (field, value)
                for field, value in request.form.items(multi=True)
                if field == ACTION or field.startswith(CARRIED)
            ),
        )
        return _refused(page, error)
    _enter(session)
    waiting = draft_from_sign_in()
    if waiting is not None:
        return render_template(
            "errors/page.html",
            status="",
            title="You are signed in again",
            message="Look it over and send it again: nothing has been done with it yet.",
            kept=waiting,
        )
    return redirect(wanted or url_for("admin.overview"), HTTPStatus.SEE_OTHER)


def link_page() -> ResponseReturnValue:
    """A page with a button: programs that preview links must not use the link up."""
    return render_template("admin/login_link.html", token=request.args.get("token", "")[:100])


def link() -> ResponseReturnValue:
    """Signs in by the link, which works once."""
    try:
        session = services().sign_in.with_link(
            request.form.get("token", ""), address=_address(), request_id=context().request_id
        )
    except (Unauthenticated, RateLimited) as error:
        page = render_template("admin/login.html", error=error.message, name="", kept=())
        return _refused(page, error)
    _enter(session)
    return redirect(url_for("admin.overview"), HTTPStatus.SEE_OTHER)


def logout() -> ResponseReturnValue:
    """Ends this session."""
    services().sign_in.sign_out(signed_in(), by=actor())
    close_session()
    flash("You are signed out.", "success")
    return redirect(url_for("admin.login"), HTTPStatus.SEE_OTHER)


def theme() -> ResponseReturnValue:
    """Keeps the choice of colours in a cookie of its own."""
    chosen = request.form.get("theme", "")
    wanted = _own(request.form.get("next")) or url_for("admin.overview")
    response: Response = make_response(redirect(wanted, HTTPStatus.SEE_OTHER))
    if chosen in THEMES:
        cookie_setter(response)(THEME_COOKIE, chosen, max_age=THEME_SECONDS, path=PREFIX)
    return response


def _enter(session: NewSession) -> None:
    found = services().sign_in.find(session.token)
    if found is None:
        raise Unauthenticated("Please sign in.")
    before = visitor().signed_in
    start_session(found, session.token, session.browser)
    if before is not None:
        # The cookie is overwritten, so nobody could end the session that it named.
        services().sign_in.end_session(before.admin, before.session.id, by=actor())


def _refused(page: str, error: Unauthenticated | RateLimited) -> Response:
    response = make_response(page, error.status)
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _address() -> str:
    return request.remote_addr or "unknown"


def _own(path: str | None) -> str | None:
    """The path if it is the console's own: a sign-in must not redirect to another site."""
    return path if path and len(path) <= 2000 and is_own_path(path) else None
