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

from webapp.error_object import object_of, refusal_of_status
from webapp.errors import Refused, SwitchboardError, Unauthenticated
from webapp.web.answers import Error, answer
from webapp.web.context import context

logger = logging.getLogger("switchboard.errors")


def json_error(error: SwitchboardError) -> Response:
    """The error object as an answer."""
    return answer(Error, object_of(error, context().request_id), status=error.status)


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
        response = answer_error(refusal_of_status(413))
        response.headers["Connection"] = "close"
        return response
    if isinstance(error, ClientDisconnected):
        # No whole body came; where the next request would begin is unknown.
        slow = isinstance(error.__context__, TimeoutError)
        response = answer_error(refusal_of_status(408 if slow else 400))
        response.headers["Connection"] = "close"
        return response
    status = error.code or 500
    if status < 400:
        return Response(status=status, headers=dict(error.get_headers()))
    response = answer_error(refusal_of_status(status))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


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
