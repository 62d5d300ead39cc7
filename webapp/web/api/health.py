"""GET /healthz: whether the process answers. GET /readyz: whether it can run turns."""

from __future__ import annotations

from flask import Response

from webapp.errors import SwitchboardError
from webapp.web.answers import Alive, Readiness, answer
from webapp.web.context import services
from webapp.web.limits import limits

_SCHEMA = {"schema_out_of_date": "out_of_date", "schema_too_new": "too_new"}


def healthz() -> Response:
    """200 as long as the process can answer at all."""
    return answer(Alive, {"status": "ok"})


def readyz() -> Response:
    """200 when turns can run, 503 when not; the limiter being down does not stop turns."""
    reason: str | None = None
    schema = "ok"
    try:
        services().database.require_ready()
        database = "ok"
    except SwitchboardError as error:
        database, reason = error.code, error.message
        schema = _SCHEMA.get(error.code, database)
    limiter = "ok" if limits().storage_is_up() else "down"
    model = services().embedded_model_answers()
    if model is False:
        reason = reason or "The embedded model is away; it is being started again."
    ready = database == "ok" and model is not False
    body: dict[str, object] = {
        "status": "ready" if ready else "not_ready",
        "checks": {
            "database": database,
            "schema": schema,
            "limiter": limiter,
            **({} if model is None else {"model": "ok" if model else "away"}),
        },
        "limiter_failures": limits().storage_failures,
    }
    if reason is not None:
        body["reason"] = reason
    return answer(Readiness, body, status=200 if ready else 503)
