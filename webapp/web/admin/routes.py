"""The console's table of contents: every address, its view, and the permission it needs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, request
from flask.typing import ResponseReturnValue

from webapp.accounts.roles import Permission
from webapp.web.admin.door import CONSOLE
from webapp.web.admin.figures.cache import EXTENSION, FigureCache
from webapp.web.admin.layout import flash_cookie, static_files, template_context
from webapp.web.admin.pages import (
    account,
    admins,
    agent,
    audit,
    keys,
    metrics,
    overview,
    playground,
    session_actions,
    sessions,
    settings,
    sign_in,
    tenant,
    tenant_actions,
    tenants,
    tenants_bulk,
    tools,
    workflows,
)
from webapp.web.admin.session.guard import View, guarded
from webapp.web.admin.session.visitor import send_cookies
from webapp.web.context import context, services
from webapp.web.pending_counts import write_pending_counts


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address; without a permission, nobody has to be signed in."""

    method: str
    path: str
    endpoint: str
    view: View
    permission: Permission | None


P = Permission
_TENANT = "/tenants/<user_id>"
_SESSION = f"{_TENANT}/sessions/<session_id>"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/login", "login", sign_in.login_page, None),
    Route("POST", "/login", "login", sign_in.login, None),
    Route("GET", "/login/link", "link", sign_in.link_page, None),
    Route("POST", "/login/link", "link", sign_in.link, None),
    Route("POST", "/theme", "theme", sign_in.theme, None),
    Route("POST", "/logout", "logout", sign_in.logout, P.MANAGE_OWN_ACCOUNT),
    Route("GET", "/account", "account", account.account, P.MANAGE_OWN_ACCOUNT),
    Route("POST", "/account", "account", account.change_password, P.MANAGE_OWN_ACCOUNT),
    Route(
        "POST",
        "/account/sessions/<int:session_id>/end",
        "end_session",
        account.end_session,
        P.MANAGE_OWN_ACCOUNT,
    ),
    Route(
        "POST",
        "/account/sign-out-everywhere",
        "sign_out_everywhere",
        account.sign_out_everywhere,
        P.MANAGE_OWN_ACCOUNT,
    ),
    Route("GET", "/", "overview", overview.overview, P.READ_METRICS),
    Route("GET", "/metrics", "metrics", metrics.metrics, P.READ_METRICS),
    Route("GET", "/tools", "tools", tools.tools, P.READ_METRICS),
    Route("GET", "/metrics.csv", "metrics_csv", metrics.metrics_csv, P.READ_METRICS),
    Route("GET", "/tenants", "tenants", tenants.tenants, P.READ_TENANTS),
    Route("GET", "/tenants.csv", "tenants_csv", tenants.tenants_csv, P.READ_TENANTS),
    Route("GET", "/tenants.json", "tenants_json", tenants.tenants_json, P.READ_TENANTS),
    Route("POST", "/selected-tenants", "tenants_bulk", tenants_bulk.bulk, P.CHANGE_TENANT),
    Route("GET", "/clear-all", "tenants_clear_all", tenants_bulk.clear_all_page, P.CLEAR_ALL),
    Route("POST", "/clear-all", "tenants_clear_all", tenants_bulk.clear_all, P.CLEAR_ALL),
    Route("GET", _TENANT, "tenant", tenant.tenant, P.READ_TENANTS),
    Route(
        "GET",
        f"{_TENANT}/conversation",
        "conversation",
        tenant.conversation_page,
        P.READ_CONVERSATIONS,
    ),
    Route("GET", f"{_TENANT}/sessions", "sessions", sessions.sessions, P.READ_CONVERSATIONS),
    Route("GET", _SESSION, "session", sessions.session, P.READ_CONVERSATIONS),
    Route("POST", f"{_SESSION}/title", "session_title", session_actions.rename, P.CHANGE_TENANT),
    Route("GET", f"{_SESSION}/clear", "session_clear", session_actions.clear_page, P.CLEAR_TENANT),
    Route("POST", f"{_SESSION}/clear", "session_clear", session_actions.clear, P.CLEAR_TENANT),
    Route(
        "GET", f"{_SESSION}/forget", "session_forget", session_actions.forget_page, P.FORGET_TENANT
    ),
    Route("POST", f"{_SESSION}/forget", "session_forget", session_actions.forget, P.FORGET_TENANT),
    Route("GET", f"{_TENANT}/workflow-runs", "tenant_runs", workflows.tenant_runs, P.READ_TENANTS),
    Route(
        "GET",
        f"{_TENANT}/workflow-runs/<run_id>",
        "tenant_run",
        workflows.tenant_run,
        P.READ_TENANTS,
    ),
    Route("GET", f"{_TENANT}/export", "tenant_export", tenant.export, P.EXPORT_TENANT),
    Route("POST", f"{_TENANT}/limit", "tenant_limit", tenant_actions.limit, P.CHANGE_TENANT),
    Route("POST", f"{_TENANT}/block", "tenant_block", tenant_actions.block, P.CHANGE_TENANT),
    Route("GET", f"{_TENANT}/clear", "tenant_clear", tenant_actions.clear_page, P.CLEAR_TENANT),
    Route("POST", f"{_TENANT}/clear", "tenant_clear", tenant_actions.clear, P.CLEAR_TENANT),
    Route("GET", f"{_TENANT}/forget", "tenant_forget", tenant_actions.forget_page, P.FORGET_TENANT),
    Route("POST", f"{_TENANT}/forget", "tenant_forget", tenant_actions.forget, P.FORGET_TENANT),
    Route("GET", "/playground", "playground", playground.playground, P.USE_PLAYGROUND),
    Route("POST", "/playground", "playground", playground.send, P.USE_PLAYGROUND),
    Route("POST", "/playground/decision", "playground_decide", playground.decide, P.USE_PLAYGROUND),
    Route("POST", "/playground/stream", "playground_stream", playground.stream, P.USE_PLAYGROUND),
    Route("GET", "/agent", "agent", agent.agent, P.READ_AGENT),
    Route("POST", "/agent", "agent", agent.change, P.CHANGE_AGENT),
    Route("POST", "/agent/<int:version>/restore", "agent_restore", agent.restore, P.CHANGE_AGENT),
    Route("GET", "/workflows", "workflows", workflows.workflows, P.READ_AGENT),
    Route("GET", "/keys", "keys", keys.keys, P.MANAGE_KEYS),
    Route("POST", "/keys", "keys", keys.create, P.MANAGE_KEYS),
    Route("GET", "/keys/<key_id>/rotate", "key_rotate", keys.rotate_page, P.MANAGE_KEYS),
    Route("POST", "/keys/<key_id>/rotate", "key_rotate", keys.rotate, P.MANAGE_KEYS),
    Route("GET", "/keys/<key_id>/revoke", "key_revoke", keys.revoke_page, P.MANAGE_KEYS),
    Route("POST", "/keys/<key_id>/revoke", "key_revoke", keys.revoke, P.MANAGE_KEYS),
    Route("GET", "/admins", "admins", admins.admins, P.MANAGE_ADMINS),
    Route("POST", "/admins", "admins", admins.create, P.MANAGE_ADMINS),
    Route("POST", "/admins/<name>/link", "admin_link", admins.make_link, P.MANAGE_ADMINS),
    Route("POST", "/admins/<name>/role", "admin_role", admins.change_role, P.MANAGE_ADMINS),
    Route("POST", "/admins/<name>/enable", "admin_enable", admins.enable, P.MANAGE_ADMINS),
    Route("GET", "/admins/<name>/disable", "admin_disable", admins.disable_page, P.MANAGE_ADMINS),
    Route("POST", "/admins/<name>/disable", "admin_disable", admins.disable, P.MANAGE_ADMINS),
    Route(
        "GET", "/admins/<name>/sign-out", "admin_sign_out", admins.sign_out_page, P.MANAGE_ADMINS
    ),
    Route("POST", "/admins/<name>/sign-out", "admin_sign_out", admins.sign_out, P.MANAGE_ADMINS),
    Route("GET", "/audit", "audit", audit.audit, P.READ_AUDIT),
    Route("GET", "/audit.csv", "audit_csv", audit.audit_csv, P.READ_AUDIT),
    Route("GET", "/audit.json", "audit_json", audit.audit_json, P.READ_AUDIT),
    Route("GET", "/settings", "settings", settings.settings, P.READ_SETTINGS),
)


def register(app: Flask) -> None:
    """Registers the console: its pages, each behind its guard, and what they share."""
    console = Blueprint("admin", __name__, url_prefix=CONSOLE.prefix)
    console.before_request(write_pending_counts)
    by_endpoint: defaultdict[tuple[str, str], dict[str, View]] = defaultdict(dict)
    for route in ROUTES:
        views = by_endpoint[route.path, route.endpoint]
        views[route.method] = guarded(route.view, route.permission)
    for (path, endpoint), views in by_endpoint.items():
        console.add_url_rule(
            path, endpoint, _by_method(views), methods=list(views), strict_slashes=True
        )
    app.register_blueprint(console)
    template_context.install(app)
    static_files.install(app)
    with app.app_context():
        flash_cookie.install(app, services().console_secret)
        app.extensions[EXTENSION] = FigureCache(services().clock)

    @app.after_request
    def send(response: Response) -> Response:
        return send_cookies(response) if context().door is CONSOLE else response


def _by_method(views: dict[str, View]) -> View:
    def answer(**arguments: Any) -> ResponseReturnValue:
        method = "GET" if request.method == "HEAD" else request.method
        return views[method](**arguments)

    return answer
