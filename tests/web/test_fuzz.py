"""schemathesis on every route that the OpenAPI document describes, with every kind of credential.

All its checks run: no 5xx, no status or type or header that is not described, what the document
allows is taken and what it forbids is refused, no way round a credential. The bound on examples
is fixed and their choice too; `FUZZ_EXAMPLES=400 scripts/test tests/web/test_fuzz.py` digs deeper.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, said
from webapp.accounts.audit import Actor

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
LEAKS = re.compile(r"Traceback|sqlite|SELECT |INSERT |\.py\b|werkzeug|pydantic|sb_[A-Za-z0-9]{6}")
CREDENTIALS = ("owner", "operator", "viewer", "chat", "token", "none")


@schemathesis.serializer("application/x-ndjson")
def lines(_: object, value: object) -> bytes:
    """A body of JSON Lines is text for schemathesis, with anything in it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture
def fuzzed(make_app: MakeApp) -> Flask:
    """Each request comes from an address of its own: bad credentials of one are throttled soon."""
    app = make_app(
        model=FakeModel(otherwise=said("{}", 3, 1)),
        AUTH="required",
        JWT_SECRET="Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3",
    )
    inner, numbers = app.wsgi_app, itertools.count()

    def from_everywhere(environ: dict[str, Any], start_response: Any) -> Any:
        number = next(numbers)
        environ["REMOTE_ADDR"] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        return inner(environ, start_response)

    app.wsgi_app = from_everywhere  # type: ignore[method-assign]
    return app


def header_of(app: Flask, credential: str) -> dict[str, str]:
    if credential == "none":
        return {}
    role = "chat" if credential == "token" else credential
    services = services_of(app)
    secret = services.keys.create(role, role=role, users="*", by=Actor.command_line()).secret
    if credential == "token":
        backend = services.keys.verify(secret)
        assert backend is not None
        secret = services.tokens.issue("alice", by=backend, ttl_seconds=3600).token
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_no_request_finds_a_hole(
    fuzzed: Flask, credential: str, mode: GenerationMode, caplog: pytest.LogCaptureFixture
) -> None:
    headers = header_of(fuzzed, credential)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", fuzzed)
    found = list(schema.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found) > 15
    for operation in operations:
        play = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES < 100,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )(given(case=operation.as_strategy(generation_mode=mode))(checked(headers, mode)))
        try:
            play()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # where nothing is taken, nothing can be wrong
    assert not [record for record in caplog.records if record.msg == "unhandled_error"]


def checked(headers: dict[str, str], mode: GenerationMode) -> Callable[[Case[Any]], None]:
    def check(case: Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            make_meant(case)
        answer = case.call(headers=headers)
        case.validate_response(
            answer,
            headers=headers,
            transport_kwargs={"headers": headers},
            excluded_checks=list(excluded(case, mode, answer.status_code)),
        )
        if answer.headers["content-type"][0] in ("application/json", "text/event-stream"):
            assert not LEAKS.search(answer.text), answer.text

    return check


def make_meant(case: Case[Any]) -> None:
    """What a schema cannot say: a cursor is what a list gave, a key must name its user, a JSON
    Schema is more than an object, no text of a session's state holds a NUL, and whom its
    body names is whom the address names."""
    case.query.pop("cursor", None)
    if isinstance(case.body, dict):
        body = {name: whole(value) for name, value in case.body.items()}
        if case.operation.label == "POST /chat" and body.get("user_id") is None:
            body["user_id"] = "alice"
        form = body.get("response_format")
        if isinstance(form, dict) and isinstance(form.get("json_schema"), dict):
            body["response_format"] = {**form, "json_schema": {**form["json_schema"], "schema": {}}}
        if "state" in body:
            body["state"] = without_nul(body["state"])
            for name in ("user_id", "session_id"):
                body.pop(name, None)
        case.body = body


def without_nul(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.replace("\0", ""): without_nul(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_nul(inner) for inner in value]
    return value.replace("\0", "") if isinstance(value, str) else value


def whole(value: Any) -> Any:
    """3.0 is an integer for JSON Schema, and none for a strict reader."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def excluded(case: Case[Any], mode: GenerationMode, status: int) -> Iterator[CheckFunction]:
    if "import" in case.path and mode is GenerationMode.POSITIVE:
        yield positive_data_acceptance  # its body is JSON Lines, which a schema does not describe
    if status == 422 and mode is GenerationMode.POSITIVE:
        yield positive_data_acceptance  # the Idempotency-Key of another example came again
    if mode is GenerationMode.NEGATIVE and any(map(vanishes, case.query.values())):
        yield negative_data_rejection


def vanishes(value: Any) -> bool:
    """An empty list or null is not sent at all, and empty text stands for what is left out."""
    return value is None or value in ("", [], {}, [""], [None])
