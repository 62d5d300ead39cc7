"""GET /: the name, the version and links, as a page for people and as JSON for programs."""

from __future__ import annotations

from flask import Response, render_template, request, url_for

from webapp.version import __version__
from webapp.web.answers import Welcome, answer
from webapp.web.api.door import PAGE_POLICY
from webapp.web.context import services

DESCRIPTION = "One agent serving many tenants, with an isolated, durable memory for every user."


def welcome() -> Response:
    """JSON unless HTML is asked for: `curl` takes anything, a browser names HTML first."""
    wanted = request.accept_mimetypes.best_match(
        ("application/json", "text/html"), default="application/json"
    )
    response = _page() if wanted == "text/html" else _answer()
    response.vary.add("Accept")
    return response


def _page() -> Response:
    page = render_template(
        "welcome.html",
        description=DESCRIPTION,
        version=__version__,
        address=request.url_root.rstrip("/"),
        open_to_this_machine=services().open_to_this_machine,
    )
    return Response(page, mimetype="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


def _answer() -> Response:
    return answer(
        Welcome,
        {
            "name": "Switchboard",
            "description": DESCRIPTION,
            "version": __version__,
            "links": {
                "chat": url_for("chat.chat"),
                "console": url_for("admin.overview"),
                "docs": url_for("documents.docs"),
                "openapi": url_for("documents.openapi_json"),
                "health": url_for("health.healthz"),
                "ready": url_for("health.readyz"),
            },
        },
    )
