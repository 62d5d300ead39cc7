"""The signed cookie for the messages that a page shows after a redirect (Flask's `flash`)."""

from __future__ import annotations

from flask import Flask, Request, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin

from webapp.web.admin.paths import PREFIX
from webapp.web.door import doors_of

COOKIE = "switchboard_notes"


class FlashCookie(SecureCookieSessionInterface):
    """Flask's session, for the console's pages only; it holds flashed messages and nothing else."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:  # type: ignore[override]
        # Flask asks before the request has its context.
        if doors_of(app).of(request.path).prefix != PREFIX:
            return self.make_null_session(app)
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # its shape there
        return request.is_secure


def install(app: Flask, secret: bytes) -> None:
    """Sets the cookie up."""
    app.secret_key = secret
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_PATH=PREFIX,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.session_interface = FlashCookie()
