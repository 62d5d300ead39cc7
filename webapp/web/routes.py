"""The table of contents: the doors, and every route, in groups that share a guard."""

from __future__ import annotations

from flask import Blueprint, Flask

from webapp.accounts.roles import Permission
from webapp.web.admin.door import CONSOLE, FILES
from webapp.web.admin.routes import register as register_console
from webapp.web.api import (
    chat,
    health,
    metrics,
    prometheus,
    sessions,
    states,
    tenants,
    tokens,
    transfers,
    welcome,
    workflows,
)
from webapp.web.api.door import REST
from webapp.web.guards import require
from webapp.web.openapi import views as openapi
from webapp.web.pending_counts import write_pending_counts

# Held against a path in this order; REST holds what is left.
DOORS = (CONSOLE, FILES, REST)


def register(app: Flask) -> None:
    """Registers all groups."""
    open_to_all = group("health")
    open_to_all.get("/healthz")(health.healthz)
    open_to_all.get("/readyz")(health.readyz)

    described = group("documents")
    described.get("/")(welcome.welcome)
    described.get("/openapi.json")(openapi.openapi_json)
    described.get("/docs")(openapi.docs)

    scraped = group("prometheus", Permission.READ_METRICS)
    scraped.get("/metrics")(prometheus.prometheus)

    turns = group("chat", Permission.RUN_TURNS)
    turns.post("/chat")(chat.chat)
    turns.get("/workflows")(workflows.list_workflows)
    turns.post("/workflows/<name>/runs")(workflows.run_workflow)

    state = group("states", Permission.RUN_TURNS, "/api")
    state.get("/tenants/<user_id>/sessions/<session_id>/state")(states.get_state)
    state.put("/tenants/<user_id>/sessions/<session_id>/state")(states.put_state)
    state.delete("/tenants/<user_id>/sessions/<session_id>/state")(states.delete_state)

    look = group("tenants", Permission.READ_TENANTS, "/api")
    look.get("/tenants")(tenants.list_tenants)
    look.get("/tenants/<user_id>")(tenants.get_tenant)

    read = group("conversations", Permission.READ_CONVERSATIONS, "/api")
    read.get("/tenants/<user_id>/messages")(tenants.list_messages)
    read.get("/tenants/<user_id>/workflow-runs")(workflows.list_runs)
    read.get("/tenants/<user_id>/workflow-runs/<run_id>")(workflows.get_run)
    read.get("/tenants/<user_id>/sessions")(sessions.list_sessions)
    read.get("/tenants/<user_id>/sessions/<session_id>")(sessions.get_session)

    watch = group("metrics", Permission.READ_METRICS, "/api")
    watch.get("/metrics")(metrics.all_metrics)
    watch.get("/tenants/<user_id>/metrics")(metrics.tenant_metrics)

    change = group("change_tenant", Permission.CHANGE_TENANT, "/api")
    change.patch("/tenants/<user_id>")(tenants.change_tenant)
    change.patch("/tenants/<user_id>/sessions/<session_id>")(sessions.change_session)

    clear = group("clear_tenant", Permission.CLEAR_TENANT, "/api")
    clear.delete("/tenants/<user_id>/messages")(tenants.clear_messages)
    clear.delete("/tenants/<user_id>/sessions/<session_id>/messages")(sessions.clear_session)

    forget = group("forget_tenant", Permission.FORGET_TENANT, "/api")
    forget.delete("/tenants/<user_id>")(tenants.forget_tenant)
    forget.delete("/tenants/<user_id>/sessions/<session_id>")(sessions.forget_session)

    take_out = group("export_tenant", Permission.EXPORT_TENANT, "/api")
    take_out.get("/tenants/<user_id>/export")(transfers.export_tenant)

    take_in = group("import_tenant", Permission.IMPORT_TENANT, "/api")
    take_in.post("/tenants/<user_id>/import")(transfers.import_tenant)

    take_all_out = group("export_all", Permission.EXPORT_ALL, "/api")
    take_all_out.get("/export")(transfers.export_all)

    take_all_in = group("import_all", Permission.IMPORT_ALL, "/api")
    take_all_in.post("/import")(transfers.import_all)

    clear_all = group("clear_all", Permission.CLEAR_ALL, "/api")
    clear_all.delete("/tenants/messages")(tenants.clear_all)

    issuing = group("tokens", Permission.ISSUE_TOKENS, "/api")
    issuing.post("/tokens")(tokens.issue)

    reading = (look, read, watch, described, scraped)
    acting = (change, clear, forget, take_out, take_in, clear_all, take_all_out, take_all_in)
    for blueprint in (open_to_all, turns, state, issuing, *reading, *acting):
        app.register_blueprint(blueprint)
    register_console(app)


def group(name: str, permission: Permission | None = None, prefix: str = "") -> Blueprint:
    """A group of routes; with a permission, its guard refuses callers without it."""
    blueprint = Blueprint(name, __name__, url_prefix=prefix or None)
    if permission is not None:
        blueprint.before_request(require(permission))
        blueprint.before_request(write_pending_counts)
    return blueprint
