"""The error object is the same whoever writes it."""

import json

import pytest
from flask import Flask, abort

from webapp.error_object import HTTP_REFUSALS, object_of, refusal_of_status
from webapp.errors import InvalidInput
from webapp.server import refusals


@pytest.mark.parametrize(
    "refusal",
    [
        refusals.LINE_TOO_LONG,
        refusals.HEADERS_TOO_LARGE,
        refusals.EXPECTATION,
        refusals.MALFORMED,
        refusals.TOO_SLOW,
    ],
    ids=lambda refusal: refusal.status,
)
def test_the_server_and_the_application_refuse_in_the_same_words(
    app: Flask, refusal: refusals.Refusal
) -> None:
    app.add_url_rule("/healthz/refused", "refused", lambda: abort(refusal.status))
    client = app.test_client()
    here = client.get("/healthz/refused")
    there = json.loads(refusals.answer(refusal).partition(b"\r\n\r\n")[2])
    assert here.status_code == refusal.status
    assert {**there, "request_id": ""} == {**here.get_json(), "request_id": ""}


def test_wrong_fields_are_named_and_none_are_left_out() -> None:
    wrong = InvalidInput("Two fields are wrong.", fields={"message": "It is empty."})
    assert object_of(wrong, "req-1") == {
        "error": "Two fields are wrong.",
        "code": "invalid_input",
        "request_id": "req-1",
        "fields": {"message": "It is empty."},
    }
    assert set(object_of(refusal_of_status(404), "req-1")) == {"error", "code", "request_id"}
    assert refusal_of_status(507).code == "internal_error"
    assert refusal_of_status(418).status == 418
    assert all(status >= 400 for status in HTTP_REFUSALS)
