"""POST /chat with `response_format`: the answer is JSON of that form, or a clear error."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp
from tests.fakes import FakeModel
from tests.web.api.test_chat import events, stored
from webapp.agent import ModelReply

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
GOOD = '{"city": "Rome", "people": 2755000}'
ROME = {"city": "Rome", "people": 2755000}


def body(form: Any = None, **more: Any) -> dict[str, Any]:
    by_schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    return {
        "user_id": "alice",
        "message": "Where?",
        "response_format": by_schema if form is None else form,
        **more,
    }


def by(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


def client_of(make_app: MakeApp, *answers: Any) -> tuple[Flask, FlaskClient, FakeModel]:
    model = FakeModel.of(*answers)
    app = make_app(model=model)
    return app, app.test_client(), model


def test_the_value_stands_beside_the_reply(make_app: MakeApp) -> None:
    app, client, model = client_of(make_app, "Rome!", f"```json\n{GOOD}\n```")
    answer = client.post("/chat", json=body())
    assert answer.status_code == 200, answer.json
    assert answer.json is not None
    assert answer.json["output"] == ROME
    assert answer.json["reply"] == GOOD
    assert [(m.role, m.content) for m in stored(app, "alice")] == [
        ("user", "Where?"),
        ("assistant", GOOD),
    ]
    wish = model.requests[0].response_format
    assert wish is not None
    assert (wish.name, wish.schema, wish.strict) == ("place", SCHEMA, False)


def test_streamed_the_last_event_has_it(make_app: MakeApp) -> None:
    _, client, _ = client_of(make_app, "Rome!", GOOD)
    told = events(client.post("/chat", json=body(stream=True)).text)
    assert "".join(data["text"] for name, data in told if name == "delta") == GOOD
    name, done = told[-1]
    assert (name, done["output"], done["reply"]) == ("done", ROME, GOOD)


def test_any_object_and_plain_text(make_app: MakeApp) -> None:
    _, client, _ = client_of(make_app, "[1]", '{"a": null}', "words", "more words")
    answer = client.post("/chat", json=body({"type": "json_object"}))
    assert answer.json is not None
    assert answer.json["output"] == {"a": None}
    for form in ({"type": "text"}, None):
        request = body(form) if form else {"user_id": "alice", "message": "Where?"}
        plain = client.post("/chat", json=request)
        assert plain.json is not None
        assert "output" not in plain.json


def test_a_value_of_null_is_a_value(make_app: MakeApp) -> None:
    _, client, _ = client_of(make_app, "null")
    answer = client.post("/chat", json=body(by({"type": ["string", "null"]})))
    assert answer.json is not None
    assert answer.json["output"] is None
    assert "output" in answer.json


def test_no_good_answer_is_an_error_and_nothing_is_stored(make_app: MakeApp) -> None:
    app, client, model = client_of(make_app, "SECRET one", '{"city": 1}', "[1, 2]")
    answer = client.post("/chat", json=body())
    assert answer.status_code == 502
    assert answer.json is not None
    assert answer.json["code"] == "invalid_answer"
    assert "SECRET" not in answer.text
    assert len(model.requests) == 3
    assert stored(app, "alice") == []


def test_an_answer_that_was_cut_off_is_an_error(make_app: MakeApp) -> None:
    app, client, _ = client_of(make_app, ModelReply('{"city": "Ro', finish_reason="length"))
    answer = client.post("/chat", json=body())
    assert (answer.status_code, answer.json and answer.json["code"]) == (502, "invalid_answer")
    assert "cut off" in answer.text
    assert stored(app, "alice") == []


def test_the_form_is_part_of_what_an_idempotency_key_stands_for(make_app: MakeApp) -> None:
    _, client, model = client_of(make_app, GOOD)
    key = {"Idempotency-Key": "k"}
    first = client.post("/chat", json=body(), headers=key)
    again = client.post("/chat", json=body(), headers=key)
    assert again.json == first.json
    assert again.json is not None
    assert again.json["output"] == ROME
    for other in (
        body({"type": "json_object"}),
        body(by(SCHEMA)),
        {"user_id": "alice", "message": "Where?"},
    ):
        assert client.post("/chat", json=other, headers=key).status_code == 422
    assert len(model.requests) == 1


SCHEMA_FIELD = "response_format.json_schema.schema"


BAD_FORMS: list[tuple[Any, str]] = [
    ("json", "response_format"),
    ({}, "response_format.type"),
    ({"type": "xml"}, "response_format.type"),
    ({"type": "json_schema"}, "response_format.json_schema"),
    ({"type": "json_object", "json_schema": {"name": "a", "schema": {}}},
     "response_format.json_schema"),
    ({"type": "text", "strict": True}, "response_format.strict"),
    (by(SCHEMA, name="no spaces"), "response_format.json_schema.name"),
    (by(SCHEMA, name=""), "response_format.json_schema.name"),
    (by(SCHEMA, strict="yes"), "response_format.json_schema.strict"),
    ({"type": "json_schema", "json_schema": {"name": "x"}}, SCHEMA_FIELD),
    (by([]), SCHEMA_FIELD),
    (by({"type": "objekt"}), SCHEMA_FIELD),
    (by({"$ref": "http://169.254.169.254/latest"}), SCHEMA_FIELD),
    (by({"pattern": "(?=a)"}), SCHEMA_FIELD),
    (by({"enum": ["x" * 1000] * 50}), SCHEMA_FIELD),
]  # fmt: skip


def test_a_form_that_cannot_be_is_named(make_app: MakeApp) -> None:
    app, client, model = client_of(make_app)
    for form, field in BAD_FORMS:
        answer = client.post("/chat", json=body(form))
        assert answer.status_code == 400, form
        assert answer.json is not None
        assert answer.json["code"] == "invalid_input"
        assert list(answer.json["fields"]) == [field]
        assert answer.json["error"].startswith(field)
    assert model.requests == []
    assert stored(app, "alice") == []
