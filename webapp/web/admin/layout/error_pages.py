"""The console's error pages: what happened, and what to do."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, make_response, redirect, render_template, request, url_for
from markupsafe import escape

from webapp.errors import ForeignForm, Refused, StaleForm, SwitchboardError, Unauthenticated
from webapp.web.admin.forms.draft import Draft, draft_from_sign_in, draft_of_request
from webapp.web.admin.session.visitor import visitor
from webapp.web.context import context
from webapp.web.csrf import origin_of
from webapp.web.errors import json_error

logger = logging.getLogger("switchboard.errors")

TITLES = {
    "foreign_origin": "This form came from elsewhere",
    "stale_form": "This form had grown old",
    "hidden": "Conversations are hidden",
    "unknown_host": "Not under this name",
    "tenant_forgotten": "This tenant is gone",
}


def error_page(error: SwitchboardError) -> Response:
    """The page of a failure. It needs no database and no signed-in admin.

    Scripts get the API's error object instead. Without a session the answer is the sign-in page,
    which carries what was typed.
    """
    try:
        return _page(error)
    except Exception as fault:  # noqa: BLE001  # the last page there is must not fail
        logger.error(
            "error_page_failed",
            extra={"request_id": context().request_id, "exception": type(fault).__name__},
        )
        text = f"<!doctype html><title>Error</title><p>{escape(error.message)}</p>"
        return Response(text, status=error.status, mimetype="text/html")


def _page(error: SwitchboardError) -> Response:
    if _wants_data():
        return json_error(error)
    if isinstance(error, Unauthenticated):
        return _sign_in_first()
    retry_after = error.retry_after if isinstance(error, Refused) else None
    # A form that another site filled in is not offered to be sent again.
    keep = isinstance(error, StaleForm) and origin_of(request) == "same"
    page = render_template(
        "errors/page.html",
        status=error.status,
        title=TITLES.get(error.code),
        message=_sentence(error),
        request_id=context().request_id,
        retry_after=retry_after,
        kept=_kept() if keep else None,
        back_url=_back(error),
    )
    return make_response(page, error.status)


def _kept() -> Draft | None:
    """At the sign-in address: what its form carries, for an admin who signed in in another tab."""
    return draft_from_sign_in() if request.endpoint == "admin.login" else draft_of_request()


def _sentence(error: SwitchboardError) -> str | None:
    """Our own words; for a bare 404 or 500 the template has better ones."""
    if error.code in ("not_found", "internal_error", "method_not_allowed", "bad_request"):
        return error.message if error.message == "There is no such tenant." else None
    return error.message


def _back(error: SwitchboardError) -> str | None:
    if isinstance(error, ForeignForm):
        return None
    if "user_id" in (request.view_args or {}) and error.status == HTTPStatus.NOT_FOUND:
        return url_for("admin.tenants")
    return None


def _sign_in_first() -> Response:
    if request.method in ("GET", "HEAD"):
        wanted = request.full_path if request.query_string else request.path
        return make_response(redirect(url_for("admin.login", next=wanted), HTTPStatus.SEE_OTHER))
    # As above: only forms of this site.
    kept = draft_of_request() if origin_of(request) == "same" else None
    page = render_template(
        "admin/login.html",
        error=None,
        signed_out=True,
        kept=kept.as_hidden if kept else (),
        name="",
        next=None,
    )
    return make_response(page, HTTPStatus.UNAUTHORIZED)


def _wants_data() -> bool:
    if visitor().signed_in is None and request.method in ("GET", "HEAD"):
        return False
    accepted = request.headers.get("Accept", "")
    return "text/event-stream" in accepted or request.path.endswith((".json", "/stream"))
