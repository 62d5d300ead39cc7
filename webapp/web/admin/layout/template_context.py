"""What every template of the console is given: who is signed in, the navigation, the theme."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from webapp.accounts.roles import Permission
from webapp.web.admin.display import format as formats
from webapp.web.admin.forms.double_submit import new_submission_id
from webapp.web.admin.layout.navigation import navigation
from webapp.web.admin.session.visitor import visitor
from webapp.web.context import services
from webapp.web.csrf import token_for

THEME_COOKIE = "switchboard_theme"
THEMES = ("system", "light", "dark")


def install(app: Flask) -> None:
    """Gives the templates their filters and their context."""
    formats.install(app.jinja_env)
    app.context_processor(_shared)


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
