"""Answers to what never becomes a request: the error object of every answer, as bytes."""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from dataclasses import dataclass

from gunicorn.http import errors

from webapp.error_object import HTTP_REFUSALS, error_object
from webapp.server.patience import HeadTooLarge

logger = logging.getLogger("switchboard.errors")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer that is sent before the connection is closed."""

    status: int
    reason: str
    code: str
    sentence: str
    retry_after: int | None = None


def _refusal(status: int, reason: str) -> Refusal:
    code, sentence = HTTP_REFUSALS[status]
    return Refusal(status, reason, code, sentence)


LINE_TOO_LONG = _refusal(414, "URI Too Long")
HEADERS_TOO_LARGE = _refusal(431, "Request Header Fields Too Large")
EXPECTATION = _refusal(417, "Expectation Failed")
MALFORMED = _refusal(400, "Bad Request")
TOO_SLOW = _refusal(408, "Request Timeout")
BUSY = Refusal(
    503, "Service Unavailable", "server_busy", "The server is busy; try again in a moment.", 1
)
DEFECT = Refusal(500, "Internal Server Error", "internal_error", "Something went wrong here.")


def refusal_of(error: BaseException) -> Refusal:
    """The refusal for an error that was raised before the application was called."""
    if isinstance(error, errors.LimitRequestLine):
        return LINE_TOO_LONG
    if isinstance(error, errors.LimitRequestHeaders | HeadTooLarge):
        return HEADERS_TOO_LARGE
    if isinstance(error, errors.ExpectationFailed):
        return EXPECTATION
    if isinstance(error, errors.ParseException):
        return MALFORMED
    return DEFECT


def answer(refusal: Refusal, error: BaseException | None = None) -> bytes:
    """The answer's bytes; its line in the log repeats nothing of what the client sent."""
    request_id = f"req-{secrets.token_hex(12)}"
    fields: dict[str, object] = {"status": refusal.status, "request_id": request_id}
    if error is not None:
        fields["exception"] = type(error).__name__
    if refusal is DEFECT and error is not None:
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("unhandled_error", extra={**fields, "trace": trace})
    elif refusal is BUSY:
        logger.warning("connection_refused", extra={**fields, "code": refusal.code})
    else:
        logger.info("malformed_request", extra={**fields, "code": refusal.code})
    body = json.dumps(error_object(refusal.sentence, refusal.code, request_id)).encode()
    wait = "" if refusal.retry_after is None else f"Retry-After: {refusal.retry_after}\r\n"
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.reason}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{wait}"
        f"X-Request-Id: {request_id}\r\n\r\n"
    )
    return head.encode("ascii") + body
