"""Keys of the REST API: made and shown once, rotated with an overlap, revoked."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from flask import flash, make_response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.keys.key import Key, NewKey
from webapp.accounts.privacy import require_mintable
from webapp.errors import InvalidInput
from webapp.periods import DAY_MS
from webapp.web.admin.forms.binding import FormShape, bind_form
from webapp.web.admin.forms.double_submit import claim, submission_id
from webapp.web.admin.session.visitor import actor
from webapp.web.context import services

TWICE = "This form came twice. The key was made once; its secret is not shown again."


class KeyForm(FormShape):
    name: str = ""
    role: str = "chat"
    users: str = ""
    expires: Literal["30d", "90d", "365d", ""] = "90d"

    @property
    def expires_at(self) -> int | None:
        if not self.expires:
            return None
        return services().clock.now_ms() + int(self.expires.removesuffix("d")) * DAY_MS


def keys() -> ResponseReturnValue:
    return _page()


def create() -> ResponseReturnValue:
    """Answers with the secret itself, which is in no address and no cookie, and is not stored."""
    form = bind_form(KeyForm)
    if services().settings.hide_conversations:
        require_mintable(form.role)
    if not claim(submission_id()):
        return _twice()
    try:
        new = services().keys.create(
            form.name.strip(),
            role=form.role,
            users=form.users.strip(),
            by=actor(),
            expires_at=form.expires_at,
        )
    except InvalidInput as error:
        page = _page(form=form.model_dump(), faults=error.fields)
        return make_response(page, HTTPStatus.BAD_REQUEST)
    return _page(created=new)


def rotate_page(key_id: str) -> ResponseReturnValue:
    key = services().keys.get(key_id)
    return _confirm(
        key,
        f"Rotate the key “{key.name}”?",
        "A new key takes its place, with the same role and users. The old one goes on working for"
        " a day, so that you can put the new one in; then it expires.",
        url_for("admin.key_rotate", key_id=key_id),
        "Make the new key",
        danger=False,
    )


def rotate(key_id: str) -> ResponseReturnValue:
    if services().settings.hide_conversations:
        require_mintable(services().keys.get(key_id).role)
    if not claim(submission_id()):
        return _twice()
    return _page(created=services().keys.rotate(key_id, by=actor()))


def revoke_page(key_id: str) -> ResponseReturnValue:
    key = services().keys.get(key_id)
    return _confirm(
        key,
        f"Revoke the key “{key.name}”?",
        "Whoever uses it is refused from this moment on, and the tokens it signed with it."
        " It cannot be brought back.",
        url_for("admin.key_revoke", key_id=key_id),
        "Revoke it",
        danger=True,
    )


def revoke(key_id: str) -> ResponseReturnValue:
    key = services().keys.revoke(key_id, by=actor())
    flash(f"The key “{key.name}” is revoked.", "success")
    return redirect(url_for("admin.keys"), HTTPStatus.SEE_OTHER)


def _page(
    created: NewKey | None = None,
    form: Mapping[str, Any] | None = None,
    faults: Mapping[str, str] | None = None,
) -> str:
    found = services().keys.list()
    replaced = frozenset(key.rotated_from for key in found)
    return render_template(
        "admin/keys.html",
        keys=[_shown(key, key.id in replaced) for key in found],
        created=None if created is None else {"name": created.key.name, "secret": created.secret},
        form=form or {"expires": "90d"},
        faults=faults or {},
    )


def _shown(key: Key, replaced: bool) -> dict[str, Any]:
    state: str = key.state(services().clock.now_ms())
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "users": str(key.users),
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "state": "retiring" if replaced and state == "active" else state,
    }


def _confirm(
    key: Key, question: str, explanation: str, action_url: str, button: str, *, danger: bool
) -> str:
    return render_template(
        "admin/confirm.html",
        question=question,
        trail=[("Keys", url_for("admin.keys"))],
        explanation=explanation,
        figures=[
            ("Key", f"{key.prefix}…"),
            ("Role", key.role),
            ("Users", str(key.users)),
        ],
        action_url=action_url,
        button=button,
        back_url=url_for("admin.keys"),
        danger=danger,
    )


def _twice() -> ResponseReturnValue:
    flash(TWICE, "info")
    return redirect(url_for("admin.keys"), HTTPStatus.SEE_OTHER)
