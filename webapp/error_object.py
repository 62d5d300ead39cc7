"""The error object: what every failure is answered with, whoever writes the answer."""

from __future__ import annotations

from collections.abc import Mapping

from webapp.errors import GuardrailFailed, GuardrailRefused, SwitchboardError

# The code and the sentence of what HTTP itself refuses: the server before there is a request,
# Werkzeug and the views afterwards.
HTTP_REFUSALS = {
    400: ("bad_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    408: ("request_timeout", "The request did not come in time."),
    413: ("body_too_large", "The body is too large."),
    414: ("uri_too_long", "The address is too long."),
    415: ("unsupported_media_type", "The body must be JSON, with Content-Type: application/json."),
    417: ("bad_request", "This server cannot do what is expected."),
    431: ("headers_too_large", "The headers are too large."),
}


def error_object(
    error: str, code: str, request_id: str, fields: Mapping[str, str] | None = None
) -> dict[str, object]:
    """A sentence, a code for programs, the request's id, and a sentence for each wrong field."""
    body: dict[str, object] = {"error": error, "code": code, "request_id": request_id}
    if fields:
        body["fields"] = dict(fields)
    return body


def object_of(error: SwitchboardError, request_id: str) -> dict[str, object]:
    """The same of a deliberate failure; it names the guardrail that refused or failed."""
    body = error_object(error.message, error.code, request_id, getattr(error, "fields", None))
    if isinstance(error, GuardrailRefused | GuardrailFailed) and error.guardrail:
        body["guardrail"] = error.guardrail
    return body


def refusal_of_status(status: int) -> SwitchboardError:
    """The failure that an HTTP status from 400 on means."""
    other = "internal_error" if status >= 500 else "bad_request"
    code, sentence = HTTP_REFUSALS.get(status, (other, "The request cannot be answered."))
    error = SwitchboardError(sentence, code=code)
    error.status = status
    return error
