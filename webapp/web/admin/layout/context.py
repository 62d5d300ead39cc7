"""What all pages share: the templates' context, headers, notes across a redirect, file versions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin

from webapp.accounts.roles import Permission
from webapp.web.admin.display import format as formats
from webapp.web.admin.forms.double_submit import new_submission_id
from webapp.web.admin.layout.navigation import navigation
from webapp.web.admin.session.visitor import COOKIE_PATH, visitor
from webapp.web.context import services
from webapp.web.csrf import token_for

THEME_COOKIE = "switchboard_theme"
THEMES = ("system", "light", "dark")
NOTES_COOKIE = "switchboard_notes"

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # With no-referrer a browser would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
IMMUTABLE = "public, max-age=31536000, immutable"
VENDOR = "public, max-age=604800"


class _Notes(SecureCookieSessionInterface):
    """Flask's signed cookie, for the notes that a page shows after a redirect and nothing else."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:  # type: ignore[override]
        if not request.path.startswith(COOKIE_PATH):
            return self.make_null_session(app)
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # its shape there
        return request.is_secure


class _Versions:
    """The first signs of each file's hash, read again when the file has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, str]] = {}

    def of(self, name: str) -> str | None:
        path = self._folder / name
        try:
            changed = path.stat().st_mtime_ns
            known = self._known.get(name)
            if known is None or known[0] != changed:
                known = (changed, hashlib.sha256(path.read_bytes()).hexdigest()[:12])
                self._known[name] = known
        except OSError:
            return None
        return known[1]


def install(app: Flask) -> None:
    """Sets the application up for pages."""
    with app.app_context():
        secret = services().console_secret
    app.secret_key = secret
    app.config.update(
        SESSION_COOKIE_NAME=NOTES_COOKIE,
        SESSION_COOKIE_PATH=COOKIE_PATH,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.session_interface = _Notes()
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.install(app.jinja_env)
    app.context_processor(_shared)
    versions = _Versions(Path(app.static_folder or "static"))

    @app.url_defaults
    def with_version(endpoint: str, values: dict[str, Any]) -> None:
        # The style sheet names its fonts without a version, and a preload must name the same.
        if endpoint == "static" and not values["filename"].endswith(".woff2"):
            version = versions.of(values["filename"])
            if version is not None:
                values["v"] = version

    @app.after_request
    def add_headers(response: Response) -> Response:
        is_file = request.path.startswith("/static/")
        if is_file or is_console(request.path):
            response.headers.update(PAGE_HEADERS)
        if is_file and response.status_code in (200, 206, 304):
            name = request.path.removeprefix("/static/")
            if name.startswith("vendor/"):
                response.headers["Cache-Control"] = VENDOR
            elif request.args.get("v") == versions.of(name):
                response.headers["Cache-Control"] = IMMUTABLE
            else:
                response.headers["Cache-Control"] = "no-cache"
        return response


def is_console(path: str) -> bool:
    return path == "/admin" or path.startswith("/admin/")


def _shared() -> dict[str, Any]:
    here = visitor()

    def can(permission: str) -> bool:
        return here.may(Permission(permission))

    def csrf_token() -> str:
        return token_for(services().console_secret, here.bound_to)

    theme = request.cookies.get(THEME_COOKIE, "")
    return {
        "admin": here.signed_in.admin if here.signed_in else None,
        "can": can,
        "conversations_hidden": services().settings.hide_conversations,
        "csrf_token": csrf_token,
        "submission_id": new_submission_id,
        "nav": navigation(can) if here.signed_in else (),
        "theme": theme if theme in THEMES else "system",
    }
