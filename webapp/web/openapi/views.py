"""GET /openapi.json: the description of the REST API. GET /docs: the same as a page."""

from __future__ import annotations

import json
from typing import Any, cast

from flask import Response, current_app, render_template, request

from webapp.web.api.door import PAGE_POLICY
from webapp.web.context import services
from webapp.web.openapi.document import build_document
from webapp.web.openapi.page import page_of

EXTENSION = "switchboard-openapi"


def openapi_json() -> Response:
    """The document, for programs."""
    # Not jsonify, which would sort the names: people read this too.
    return Response(json.dumps(document(), ensure_ascii=False), mimetype="application/json")


def docs() -> Response:
    """The document, for people: no script, nothing from elsewhere."""
    page = render_template(
        "docs.html",
        page=page_of(document()),
        address=request.url_root.rstrip("/"),
        keyless=services().open_to_this_machine,
    )
    return Response(page, mimetype="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


def document() -> dict[str, Any]:
    """Made at the first request that asks for it: only then every route is registered."""
    made = current_app.extensions
    if EXTENSION not in made:
        made[EXTENSION] = build_document(current_app, services().settings)
    return cast("dict[str, Any]", made[EXTENSION])
