"""The signed-in person's own account: password, and where they are signed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.errors import InvalidInput, NotFound, RateLimited
from webapp.web.admin.session.visitor import actor, close_session, signed_in
from webapp.web.context import services


def account() -> ResponseReturnValue:
    return _page()


def change_password() -> ResponseReturnValue:
    """Changes the password and ends every other session of the account."""
    here = signed_in()
    admin, form = here.admin, request.form
    password, faults = form.get("password", ""), {}
    try:
        knows = not admin.has_password or services().sign_in.is_own_password(
            here, form.get("current", "")
        )
    except RateLimited as error:
        response = make_response(_page({"current": error.message}), error.status)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    if not knows:
        faults["current"] = "This is not your password."
    elif password != form.get("again", ""):
        faults["again"] = "The two are not the same."
    else:
        try:
            services().admins.set_password(
                admin.name, password, by=actor(), keep_session=here.session.id
            )
        except InvalidInput as error:
            faults = error.fields
    if faults:
        return make_response(_page(faults), HTTPStatus.BAD_REQUEST)
    flash("The password is changed. Every other place is signed out.", "success")
    return redirect(url_for("admin.account"), HTTPStatus.SEE_OTHER)


def end_session(session_id: int) -> ResponseReturnValue:
    """Ends another session of the account."""
    if not services().sign_in.end_session(signed_in().admin, session_id, by=actor()):
        raise NotFound("This session is over already.")
    flash("That place is signed out.", "success")
    return redirect(url_for("admin.account"), HTTPStatus.SEE_OTHER)


def sign_out_everywhere() -> ResponseReturnValue:
    services().sign_in.sign_out_everywhere(signed_in().admin, by=actor())
    close_session()
    flash("You are signed out everywhere.", "success")
    return redirect(url_for("admin.login"), HTTPStatus.SEE_OTHER)


def _page(faults: Mapping[str, str] | None = None) -> str:
    here = signed_in()
    return render_template(
        "admin/account.html",
        sessions=[
            {**asdict(session), "current": session.id == here.session.id}
            for session in services().sign_in.sessions(here.admin)
        ],
        has_password=here.admin.has_password,
        faults=faults or {},
    )
