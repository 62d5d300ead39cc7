"""GET /healthz: the process lives. GET /readyz: what it depends on answers."""

from __future__ import annotations

from flask import Response, jsonify

from webapp.errors import SwitchboardError
from webapp.web.context import limits, services


def healthz() -> Response:
    """200 as long as the process can answer at all."""
    return jsonify({"status": "ok"})


def readyz() -> Response:
    """200 when turns can run, 503 when not; the limiter being down does not stop turns."""
    try:
        services().database.check()
        database = "ok"
    except SwitchboardError as error:
        database = error.code
    limiter = "ok" if limits().storage_is_up() else "down"
    ready = database == "ok"
    body = {
        "status": "ready" if ready else "not_ready",
        "checks": {
            "database": database,
            "schema": "out_of_date" if database == "schema_out_of_date" else database,
            "limiter": limiter,
        },
        "limiter_failures": limits().storage_failures,
    }
    response = jsonify(body)
    response.status_code = 200 if ready else 503
    return response
