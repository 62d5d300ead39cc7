"""POST /chat: it works, binds strictly, keeps tenants apart, is limited, streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, calls, said
from webapp.agent import ModelReply
from webapp.errors import ContextOverflow, ModelError, ModelTimeout
from webapp.memory.history.store import history
from webapp.messages import Message
from webapp.tenants.store import number_of


def stored(app: Flask, user_id: str, session_id: str = "default") -> list[Message]:
    with services_of(app).database.read() as connection:
        number = number_of(connection, user_id)
        return [] if number is None else history(connection, number, session_id)


def events(body: str) -> list[tuple[str, Any]]:
    """The server-sent events in a body, without the comments."""
    found = []
    for block in body.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            name, data = lines
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_turn_is_answered_and_stored(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/chat", json={"user_id": "alice", "message": "Hello"})
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["user_id"] == "alice"
    assert answer.json["reply"] == "I see 2 messages in history"
    assert answer.json["session_id"] == "default"
    assert (answer.json["finish_reason"], answer.json["model"]) == ("stop", "fake")
    assert set(answer.json["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert [(m.role, m.content) for m in stored(app, "alice")] == [
        ("user", "Hello"),
        ("assistant", "I see 2 messages in history"),
    ]


def test_tenants_and_sessions_are_kept_apart(client: FlaskClient, model: FakeModel) -> None:
    for user, session in (("alice", "a"), ("bob", "a"), ("alice", "b"), ("alice", "a")):
        client.post("/chat", json={"user_id": user, "message": user, "session_id": session})
    assert [m.content for m in model.seen[1]] == ["You are a helpful assistant.", "bob"]
    assert [m.content for m in model.seen[2]] == ["You are a helpful assistant.", "alice"]
    assert len(model.seen[3]) == 4
    assert all("bob" not in m.content for m in model.seen[3])


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({"message": "x"}, "user_id", "user_id is required"),
        ({"user_id": "", "message": "x"}, "user_id", "user_id cannot be empty"),
        (
            {"user_id": "a" * 256, "message": "x"},
            "user_id",
            "user_id too long (max 255 chars)",
        ),
        ({"user_id": "a/b", "message": "x"}, "user_id", "user_id cannot contain '/'"),
        (
            {"user_id": "a\u0000", "message": "x"},
            "user_id",
            "user_id cannot contain control characters",
        ),
        ({"user_id": 7, "message": "x"}, "user_id", "user_id must be a string"),
        ({"user_id": "alice"}, "message", "message is required"),
        ({"user_id": "alice", "message": ""}, "message", "message cannot be empty"),
        ({"user_id": "alice", "message": " \n\t"}, "message", "message cannot be empty"),
        ({"user_id": "alice", "message": ["x"]}, "message", "message must be a string"),
        (
            {"user_id": "alice", "message": "x", "stream": "yes"},
            "stream",
            "stream must be true or false",
        ),
        (
            {"user_id": "alice", "message": "x", "sesion_id": "s"},
            "sesion_id",
            "sesion_id is not a field of this request",
        ),
        ({"user_id": "alice", "message": "x", "session_id": ".."}, "session_id", None),
    ],
)
def test_what_cannot_be_bound_is_named(
    client: FlaskClient, app: Flask, body: dict[str, Any], field: str, sentence: str | None
) -> None:
    answer = client.post("/chat", json=body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "invalid_input"
    assert list(answer.json["fields"]) == [field]
    if sentence is not None:
        assert answer.json["error"] == sentence
    assert stored(app, "alice") == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b'{"user_id"', "application/json", 400, "invalid_json"),
        (b'{"user_id": "\xff", "message": "x"}', "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b"[" * 50_000, "application/json", 400, "invalid_json"),
        (b'{"user_id": "a", "message": "\\ud800"}', "application/json", 400, "invalid_json"),
        (b"[1]", "application/json", 400, "invalid_input"),
        (b"user_id=alice", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{" + b" " * 2_000_000 + b"}", "application/json", 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_request_is_refused(
    client: FlaskClient, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = client.post("/chat", data=body, content_type=kind)
    assert (answer.status_code, answer.json and answer.json["code"]) == (status, code)


@pytest.mark.parametrize(
    "user_id",
    [
        "a" * 255,
        "😀" * 255,
        "مستخدم",
        "zero\u200bwidth",
        "with space",
        "%2e",
        "O'Hara; --",
        "e\u0301",
    ],
)
def test_user_ids_of_any_script_work(app: Flask, client: FlaskClient, user_id: str) -> None:
    assert client.post("/chat", json={"user_id": user_id, "message": "hi"}).status_code == 200
    assert len(stored(app, user_id)) == 2


def test_look_alike_ids_are_different_tenants(app: Flask, client: FlaskClient) -> None:
    client.post("/chat", json={"user_id": "\u00e9", "message": "hi"})
    assert stored(app, "e\u0301") == []


def test_a_message_over_the_limit_is_a_clear_error(make_app: MakeApp) -> None:
    client = make_app(MESSAGE_MAX_CHARS="10").test_client()
    assert client.post("/chat", json={"user_id": "alice", "message": "x" * 10}).status_code == 200
    answer = client.post("/chat", json={"user_id": "alice", "message": "x" * 11})
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "message_too_long"
    assert "message" in answer.json["fields"]


def test_the_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    answer = client.get("/chat")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ModelError("The model's server failed."), 502, "model_error"),
        (ModelTimeout("The model did not answer in time."), 504, "model_timeout"),
        (said(""), 502, "model_error"),
        (calls(*[("add", {"a": 1, "b": 2})]), 502, "model_error"),
    ],
)
def test_a_model_that_fails_leaves_memory_as_it_was(
    make_app: MakeApp, failure: Any, status: int, code: str
) -> None:
    model = FakeModel.of(said("first"), otherwise=failure)
    app = make_app(model=model, MAX_LOOPS="2")
    client = app.test_client()
    client.post("/chat", json={"user_id": "alice", "message": "one"})
    before = stored(app, "alice")
    answer = client.post("/chat", json={"user_id": "alice", "message": "two"})
    assert (answer.status_code, answer.json and answer.json["code"]) == (status, code)
    assert stored(app, "alice") == before


def test_an_answer_that_was_cut_off_is_delivered_and_says_so(make_app: MakeApp) -> None:
    cut = ModelReply("half an ans", finish_reason="length")
    client = make_app(model=FakeModel(otherwise=cut)).test_client()
    body: dict[str, Any] = {"user_id": "alice", "message": "hi"}
    once = {"Idempotency-Key": "k"}
    first = client.post("/chat", json=body, headers=once)
    assert first.json is not None
    assert (first.json["reply"], first.json["finish_reason"]) == ("half an ans", "length")
    assert client.post("/chat", json=body, headers=once).json == first.json
    streamed = client.post("/chat", json={**body, "stream": True})
    assert events(streamed.text)[-1][1]["finish_reason"] == "length"
    assert list(events(streamed.text)[-1][1]) == list(first.json)
    again = client.post("/chat", json={**body, "stream": True}, headers=once)
    assert events(again.text) == [("done", first.json)]


def test_a_message_that_the_model_cannot_read_is_too_large(
    make_app: MakeApp, model: FakeModel
) -> None:
    app = make_app(model=FakeModel(otherwise=ContextOverflow("too long")))
    client = app.test_client()
    body = {"user_id": "alice", "message": "hi"}
    answer = client.post("/chat", json=body)
    assert (answer.status_code, answer.json and answer.json["code"]) == (413, "message_too_long")
    streamed = client.post("/chat", json={**body, "stream": True})
    name, error = events(streamed.text)[-1]
    assert (name, error["code"]) == ("error", "message_too_long")
    assert stored(app, "alice") == []


def test_a_streamed_turn_ends_with_the_whole_answer(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/chat", json={"user_id": "alice", "message": "hi", "stream": True})
    assert answer.mimetype == "text/event-stream"
    found = events(answer.text)
    assert [name for name, _ in found][-1] == "done"
    deltas = "".join(data["text"] for name, data in found if name == "delta")
    assert deltas == found[-1][1]["reply"] == "I see 2 messages in history"
    assert found[-1][1]["request_id"] == answer.headers["X-Request-Id"]
    assert len(stored(app, "alice")) == 2


def test_a_streamed_turn_tells_of_its_tools(make_app: MakeApp) -> None:
    model = FakeModel.of(calls(("add", {"a": 5, "b": 3})), said("The result is 8"))
    app = make_app(model=model)
    body = {"user_id": "alice", "message": "5+3?", "stream": True}
    found = events(app.test_client().post("/chat", json=body).text)
    assert [data for name, data in found if name == "tool"] == [
        {"name": "add", "status": "started", "tool_call_id": "call-0"},
        {"name": "add", "status": "ok", "tool_call_id": "call-0"},
    ]
    assert [m.role for m in stored(app, "alice")] == ["user", "assistant", "tool", "assistant"]
    assert stored(app, "alice")[2].content == "8"


def test_a_stream_that_fails_ends_with_one_error_event(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(otherwise=ModelError("The model's server failed.")))
    body = {"user_id": "alice", "message": "hi", "stream": True}
    found = events(app.test_client().post("/chat", json=body).text)
    assert [name for name, _ in found] == ["error"]
    assert found[0][1]["code"] == "model_error"
    assert stored(app, "alice") == []


def test_a_limited_tenant_is_told_when_to_come_back(make_app: MakeApp) -> None:
    client = make_app(RATE_LIMIT="2/minute;10/day").test_client()
    body = {"user_id": "alice", "message": "hi"}
    answers = [client.post("/chat", json=body) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["1", "0", "0"]
    assert "Retry-After" not in answers[0].headers
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert answers[2].json is not None
    assert answers[2].json["code"] == "rate_limited"
    streamed = client.post("/chat", json={**body, "stream": True})
    assert streamed.status_code == 429
    assert client.post("/chat", json={**body, "user_id": "bob"}).status_code == 200


def test_without_a_credential_nothing_answers(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    answer = client.post("/chat", json={"user_id": "alice", "message": "hi"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.get("/healthz").status_code == 200
