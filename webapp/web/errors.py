"""Turns every failure into an answer, which the request's door writes; JSON is written here."""

from __future__ import annotations

import logging
import traceback

from flask import Flask, Response
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    RequestEntityTooLarge,
)

from webapp.errors import (
    GuardrailFailed,
    GuardrailRefused,
    Refused,
    SwitchboardError,
    Unauthenticated,
)
from webapp.web.answers import Error, answer
from webapp.web.context import context

logger = logging.getLogger("switchboard.errors")

# The code and the sentence of what Werkzeug and the server refuse.
_REFUSED = {
    400: ("bad_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    408: ("request_timeout", "The request did not come in time."),
    413: ("body_too_large", "The body is too large."),
    414: ("bad_request", "The address is too long."),
    415: ("unsupported_media_type", "The body must be JSON, with Content-Type: application/json."),
    431: ("bad_request", "The headers are too large."),
}


def error_body(error: SwitchboardError) -> dict[str, object]:
    """The error object: what happened, a code for programs, and the request's id."""
    body: dict[str, object] = {
        "error": error.message,
        "code": error.code,
        "request_id": context().request_id,
    }
    fields = getattr(error, "fields", None)
    if fields:
        body["fields"] = fields
    if guardrail := guardrail_of(error):
        body["guardrail"] = guardrail
    return body


def guardrail_of(error: SwitchboardError) -> str:
    """The name of the guardrail that refused or failed; empty for all else."""
    return error.guardrail if isinstance(error, GuardrailRefused | GuardrailFailed) else ""


def json_error(error: SwitchboardError) -> Response:
    """The error object as an answer."""
    return answer(Error, error_body(error), status=error.status)


def register(app: Flask) -> None:
    """Error handlers of the application; they answer for routing faults as well."""
    app.register_error_handler(SwitchboardError, _deliberate)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def answer_error(error: SwitchboardError) -> Response:
    """The answer to a deliberate failure, as the request's door writes it."""
    context().failed(error)
    response = context().door.write_error(error)
    if isinstance(error, Refused):
        response.headers["Retry-After"] = str(error.retry_after)
        if error.code == "insufficient_quota":
            response.headers["x-should-retry"] = "false"
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Bearer realm="switchboard"'
    return response


def _deliberate(error: SwitchboardError) -> Response:
    if error.status >= 500:
        cause = error.__cause__
        logger.warning(
            "request_failed",
            extra={
                "request_id": context().request_id,
                "code": error.code,
                "cause": type(cause).__name__ if cause is not None else type(error).__name__,
            },
        )
    return answer_error(error)


def _http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        # The rest of the body is still on its way: the connection cannot be used again.
        response = answer_error(_as_error(413))
        response.headers["Connection"] = "close"
        return response
    if isinstance(error, ClientDisconnected):
        # No whole body came; where the next request would begin is unknown.
        slow = isinstance(error.__context__, TimeoutError)
        response = answer_error(_as_error(408 if slow else 400))
        response.headers["Connection"] = "close"
        return response
    status = error.code or 500
    if status < 400:
        return Response(status=status, headers=dict(error.get_headers()))
    response = answer_error(_as_error(status))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _as_error(status: int) -> SwitchboardError:
    other = "internal_error" if status >= 500 else "bad_request"
    code, sentence = _REFUSED.get(status, (other, "The request cannot be answered."))
    error = SwitchboardError(sentence, code=code)
    error.status = status
    return error


def _unforeseen(error: Exception) -> Response:
    """A defect of ours: the log says where, the client learns only that it happened."""
    logger.error(
        "unhandled_error",
        extra={
            "request_id": context().request_id,
            "exception": type(error).__name__,
            # Only where it happened: an exception's text can quote what a user wrote.
            "trace": "".join(traceback.format_tb(error.__traceback__)),
        },
    )
    return answer_error(SwitchboardError("Something went wrong here; it has been logged."))
