"""Who is signed in to the console in this request, and the cookies of the console."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from flask import Response, g, request

from webapp.accounts.audit import Actor
from webapp.accounts.privacy import LOOKING
from webapp.accounts.roles import Permission
from webapp.accounts.sign_in import SignedIn
from webapp.accounts.sign_in.known_browsers import KEPT_SECONDS, cookie_name
from webapp.errors import Unauthenticated
from webapp.web.admin.paths import PREFIX, SIGN_IN_PATH
from webapp.web.context import context, services

SESSION_COOKIE = "switchboard_session"
VISITOR_COOKIE = "switchboard_visitor"
LIVE_HEADER = "X-Live-Refresh"
MAX_COOKIE_CHARS = 64


@dataclass(slots=True)
class Visitor:
    """The browser of one request. CSRF tokens are made from `bound_to`, the value of its cookie.

    The `set_…` fields are cookies that the answer sets; an empty one is deleted.
    """

    signed_in: SignedIn | None = None
    bound_to: str = ""
    set_session: str | None = None
    set_visitor: str | None = None
    set_browser: tuple[str, str] | None = None

    def may(self, permission: Permission) -> bool:
        if self.signed_in is None:
            return False
        if permission in LOOKING and services().settings.hide_conversations:
            return False
        return self.signed_in.principal.may(permission)


def visitor() -> Visitor:
    """The current request's; an empty one when the request failed before `find_visitor`."""
    if "visitor" not in g:
        g.visitor = Visitor()
    return cast("Visitor", g.visitor)


def find_visitor() -> None:
    """Finds the session that the cookie names; refuses nobody."""
    here = visitor()
    token = request.cookies.get(SESSION_COOKIE, "")
    here.signed_in = services().sign_in.find(token, active=LIVE_HEADER not in request.headers)
    if here.signed_in is not None:
        here.bound_to = token
        context().principal = here.signed_in.principal
        return
    cookie = request.cookies.get(VISITOR_COOKIE, "")
    if not cookie or len(cookie) > MAX_COOKIE_CHARS:
        cookie = here.set_visitor = secrets.token_urlsafe(24)
    here.bound_to = cookie


def start_session(signed_in: SignedIn, token: str, browser: str) -> None:
    """Makes this admin the request's. The answer sets the session's cookie, and the cookie by
    which this browser is recognised at the account's next sign-in."""
    here = visitor()
    here.signed_in, here.bound_to, here.set_session = signed_in, token, token
    here.set_browser = (cookie_name(signed_in.admin.name), browser)


def close_session() -> None:
    """The answer deletes the session's cookie."""
    visitor().set_session = ""


def send_cookies(response: Response) -> Response:
    """Sets the cookies on the answer.

    SameSite=Lax, not Strict: a link from another site to a tenant's page must find the session.
    """
    here = visitor()
    send = cookie_setter(response)
    if here.set_browser is not None:
        send(*here.set_browser, max_age=KEPT_SECONDS, path=SIGN_IN_PATH)
    for name, value in ((SESSION_COOKIE, here.set_session), (VISITOR_COOKIE, here.set_visitor)):
        if value is not None:
            send(name, value, max_age=None if value else 0, path=PREFIX)
    return response


def cookie_setter(response: Response) -> Callable[..., None]:
    """`response.set_cookie`, for cookies that scripts and other sites' forms do not get."""
    return partial(response.set_cookie, secure=request.is_secure, httponly=True, samesite="Lax")


def signed_in() -> SignedIn:
    """The admin of this request; raises `Unauthenticated`."""
    found = visitor().signed_in
    if found is None:
        raise Unauthenticated("Please sign in.")
    return found


def actor() -> Actor:
    """The admin of this request, for the audit log."""
    return Actor.of(
        signed_in().principal,
        address=request.remote_addr or "",
        request_id=context().request_id,
    )
