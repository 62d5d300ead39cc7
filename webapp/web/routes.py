"""The table of contents: every route, in groups that share a guard."""

from __future__ import annotations

from flask import Blueprint, Flask

from webapp.accounts.roles import Permission
from webapp.web.api import chat, health
from webapp.web.guards import require


def register(app: Flask) -> None:
    """Registers all groups."""
    open_to_all = group("health")
    open_to_all.get("/healthz")(health.healthz)
    open_to_all.get("/readyz")(health.readyz)

    turns = group("chat", Permission.RUN_TURNS)
    turns.post("/chat")(chat.chat)

    for blueprint in (open_to_all, turns):
        app.register_blueprint(blueprint)


def group(name: str, permission: Permission | None = None, prefix: str = "") -> Blueprint:
    """A group of routes; with a permission, its guard refuses whoever does not have it."""
    blueprint = Blueprint(name, __name__, url_prefix=prefix or None)
    if permission is not None:
        blueprint.before_request(require(permission))
    return blueprint
