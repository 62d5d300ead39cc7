"""Console accounts: made with a password or a one-time link, given another role, disabled."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.admins import Admin
from webapp.errors import Conflict, InvalidInput
from webapp.web.admin.forms.binding import FormShape, bind_form
from webapp.web.admin.forms.double_submit import claim, submission_id
from webapp.web.admin.session.visitor import actor
from webapp.web.context import services


class AdminForm(FormShape):
    name: str = ""
    role: str = "viewer"
    password: str = ""


def admins() -> ResponseReturnValue:
    return _page()


def create() -> ResponseReturnValue:
    """Without a password the answer shows a link that signs in once."""
    form = bind_form(AdminForm)
    if not claim(submission_id()):
        flash("This form came twice; the account was made once.", "info")
        return _back()
    typed = {"name": form.name, "role": form.role}
    try:
        admin = services().admins.create(
            form.name, by=actor(), role=form.role, password=form.password or None
        )
    except InvalidInput as error:
        return make_response(_page(form=typed, faults=error.fields), HTTPStatus.BAD_REQUEST)
    except Conflict as error:
        page = _page(form=typed, faults={"name": error.message})
        return make_response(page, HTTPStatus.CONFLICT)
    if not form.password:
        return _page(link_of=admin)
    flash(f"{admin.name} may sign in as {admin.role}.", "success")
    return _back()


def make_link(name: str) -> ResponseReturnValue:
    """A new one-time link, shown in this answer alone; an older one no longer works."""
    return _page(link_of=services().admins.get(name))


def change_role(name: str) -> ResponseReturnValue:
    admin = services().admins.change_role(name, request.form.get("role", ""), by=actor())
    flash(f"{admin.name} is {admin.role} from now on.", "success")
    return _back()


def enable(name: str) -> ResponseReturnValue:
    admin = services().admins.enable(name, by=actor())
    flash(f"{admin.name} may sign in again.", "success")
    return _back()


def disable_page(name: str) -> ResponseReturnValue:
    return _confirm(
        services().admins.get(name),
        "Disable {name}?",
        "The account cannot sign in any more and is signed out everywhere. What it did stays in"
        " the audit log. It can be enabled again.",
        "admin.admin_disable",
        "Disable",
    )


def disable(name: str) -> ResponseReturnValue:
    admin = services().admins.disable(name, by=actor())
    flash(f"{admin.name} is disabled and signed out everywhere.", "success")
    return _back()


def sign_out_page(name: str) -> ResponseReturnValue:
    return _confirm(
        services().admins.get(name),
        "Sign {name} out everywhere?",
        "Every browser in which the account is signed in has to sign in again, and an unused"
        " sign-in link stops working.",
        "admin.admin_sign_out",
        "Sign out everywhere",
    )


def sign_out(name: str) -> ResponseReturnValue:
    admin = services().admins.get(name)
    ended = services().sign_in.sign_out_everywhere(admin, by=actor())
    flash(f"{admin.name} is signed out; sessions ended: {ended}.", "success")
    return _back()


def _page(
    form: Mapping[str, Any] | None = None,
    faults: Mapping[str, str] | None = None,
    link_of: Admin | None = None,
) -> str:
    link = None
    if link_of is not None:
        token = services().sign_in.make_link(link_of.name, by=actor())
        url = url_for("admin.link", token=token, _external=True)
        link = {"name": link_of.name, "url": url}
    return render_template(
        "admin/admins.html",
        admins=[_shown(admin) for admin in services().admins.list()],
        link=link,
        form=form or {},
        faults=faults or {},
    )


def _shown(admin: Admin) -> dict[str, Any]:
    return {
        "name": admin.name,
        "role": admin.role,
        "disabled_at": admin.disabled_at,
        "sessions": len(services().sign_in.sessions(admin)),
        "last_sign_in_at": admin.last_sign_in_at,
    }


def _confirm(admin: Admin, question: str, explanation: str, endpoint: str, button: str) -> str:
    return render_template(
        "admin/confirm.html",
        question=question.format(name=admin.name),
        trail=[("Admins", url_for("admin.admins"))],
        explanation=explanation,
        figures=[
            ("Account", admin.name),
            ("Role", admin.role),
            ("Signed in", len(services().sign_in.sessions(admin))),
        ],
        action_url=url_for(endpoint, name=admin.name),
        button=button,
        back_url=url_for("admin.admins"),
        danger=True,
    )


def _back() -> ResponseReturnValue:
    return redirect(url_for("admin.admins"), HTTPStatus.SEE_OTHER)
