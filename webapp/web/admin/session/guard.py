"""The guard of each page: the form's origin and CSRF token, sign-in, and the permission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from webapp.accounts.roles import Permission
from webapp.errors import Forbidden, ForeignForm, StaleForm
from webapp.web.admin.session.visitor import signed_in, visitor
from webapp.web.bounds import MAX_STRANGERS_FORM_BYTES
from webapp.web.context import services
from webapp.web.csrf import FIELD, is_token_of, origin_of
from webapp.web.elsewhere import is_of_another_page

# Reading these is audited too: a page of another site must not fill the audit log.
AUDITED_READS = frozenset({Permission.EXPORT_TENANT})

View = Callable[..., ResponseReturnValue]


def guarded(view: View, permission: Permission | None) -> View:
    """The view behind its guard; without a permission, nobody has to be signed in."""

    def checked(**arguments: Any) -> ResponseReturnValue:
        changes = request.method not in ("GET", "HEAD", "OPTIONS")
        if changes and origin_of(request) == "foreign":
            raise ForeignForm("This form was sent from another site, so nothing was done.")
        if permission in AUDITED_READS and is_of_another_page(request):
            raise ForeignForm("Another site asked for this, so nothing was done; open it here.")
        if permission is not None:
            signed_in()
        elif changes:
            most = request.max_content_length or MAX_STRANGERS_FORM_BYTES
            request.max_content_length = min(most, MAX_STRANGERS_FORM_BYTES)
        if changes and not _token_fits():
            raise StaleForm(
                "The form was too old or not from this console, so nothing was done yet."
            )
        if permission is not None:
            require(permission)
        return view(**arguments)

    return checked


def require(permission: Permission) -> None:
    """`Forbidden` when the admin of this request may not do it."""
    if visitor().may(permission):
        return
    if signed_in().principal.may(permission):
        raise Forbidden("This server keeps what tenants say from its admins.", code="hidden")
    raise Forbidden("Your role does not allow this. Nothing was changed.")


def _token_fits() -> bool:
    presented = request.form.get(FIELD, "")
    return is_token_of(services().console_secret, visitor().bound_to, presented)
