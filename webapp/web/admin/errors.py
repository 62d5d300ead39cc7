"""Failures under /admin, as pages that say what happened and what to do."""

from __future__ import annotations

from flask import Response

from webapp.errors import SwitchboardError


def error_page(error: SwitchboardError) -> Response:
    """A plain text until the page's own template is there."""
    return Response(error.message, status=error.status, mimetype="text/plain")
