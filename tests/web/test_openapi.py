"""GET /openapi.json and /docs: they name every route, and answers are as they say."""

from __future__ import annotations

import html
import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.fakes import FakeModel, calls, said
from webapp.accounts.roles import PERMISSIONS
from webapp.errors import InvalidInput, ModelError, ModelTimeout, SwitchboardError
from webapp.ids import check_user_id
from webapp.tenants.listing.query import SORTS
from webapp.usage.windows import WINDOWS
from webapp.web.binding import IDENTIFIER_SCHEMA, MESSAGE_PATTERN
from webapp.web.openapi.document import guard_of, rest_routes
from webapp.web.openapi.operations import OPERATIONS
from webapp.web.openapi.shared import FAILURES


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    found: dict[str, Any] = json.loads(answer.data)
    return found


def test_every_rest_route_is_described_and_nothing_else(
    app: Flask, document: dict[str, Any]
) -> None:
    routes = {name for name, _ in rest_routes(app)}
    described = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert routes - set(OPERATIONS) == set(), "give these an entry in web/openapi/operations.py"
    assert set(OPERATIONS) - routes == set(), "these are described and do not exist"
    assert described == routes


def test_operation_ids_are_distinct_and_each_tag_is_explained(document: dict[str, Any]) -> None:
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    explained = {tag["name"] for tag in document["tags"]}
    assert {tag for one in operations for tag in one["tags"]} == explained


def test_a_guarded_route_names_its_roles_and_an_open_one_says_so(
    app: Flask, document: dict[str, Any]
) -> None:
    for name, rule in rest_routes(app):
        method, path = name.split(" ", 1)
        operation = document["paths"][path][method.lower()]
        permission = guard_of(app, rule)
        if permission is None:
            assert operation["security"] == []
            assert "401" not in operation["responses"]
        else:
            roles = [role for role, held in PERMISSIONS.items() if permission in held]
            assert operation["security"] == [{"bearer": []}]
            assert operation["x-roles"] == roles
            assert {"401", "403", "429", "503"} <= set(operation["responses"])


def test_every_status_of_our_errors_has_an_answer_in_the_document() -> None:
    statuses: set[int] = set()
    kinds = [SwitchboardError]
    while kinds:
        kind = kinds.pop()
        statuses.add(kind.status)
        kinds += kind.__subclasses__()
    assert statuses - {499} <= set(FAILURES)  # 499 is for the log: its client has hung up


def test_the_lists_of_choices_are_those_that_the_code_takes(document: dict[str, Any]) -> None:
    def choices(path: str, name: str) -> list[str]:
        parameters = document["paths"][path]["get"]["parameters"]
        found: list[str] = next(p["schema"]["enum"] for p in parameters if p["name"] == name)
        return found

    assert choices("/api/tenants", "sort") == list(SORTS)
    assert choices("/api/metrics", "window") == list(WINDOWS)


def test_the_longest_message_is_the_setting(make_app: MakeApp) -> None:
    client = make_app(MESSAGE_MAX_CHARS="77").test_client()
    document = json.loads(client.get("/openapi.json").data)
    message = document["components"]["schemas"]["ChatRequest"]["properties"]["message"]
    assert message["maxLength"] == 77


def test_the_described_id_is_the_one_that_is_taken() -> None:
    pattern = re.compile(IDENTIFIER_SCHEMA["pattern"])
    some = "\u1680\u2000\u200a\u200b\u2028\u2029\u202e\u202f\u205f\u3000\ufeff\u0636\U0001f600"
    for char in [*map(chr, range(0x250)), *some]:
        for text in (char, f"a{char}", f"{char}a", f"a{char}a", f"{char}."):
            try:
                check_user_id(text)
                taken = True
            except InvalidInput:
                taken = False
            # Not the Python `$`, which a line feed may follow.
            described = bool(pattern.search(text)) and not text.endswith("\n")
            assert described is taken, ascii(text)


@pytest.mark.parametrize("text", [".", "..", "...", "a.", ".a"])
def test_the_dots_that_vanish_from_a_path_are_no_id(text: str) -> None:
    assert bool(re.search(IDENTIFIER_SCHEMA["pattern"], text)) is (text not in {".", ".."})


def test_the_described_message_is_the_one_that_is_taken(client: FlaskClient) -> None:
    for text in ("", " ", "\x1c", "\x85 \u3000", "\x00a", "a\x00", " a", "\x01", "\ufeff", "ok"):
        answer = client.post("/chat", json={"user_id": "alice", "message": text})
        taken = bool(re.search(MESSAGE_PATTERN, text))
        assert answer.status_code == (200 if taken else 400), ascii(text)


# -- answers are as described ---------------------------------------------------------------------


class Checked:
    """A client that holds every answer against the document, undescribed statuses included."""

    def __init__(self, app: Flask) -> None:
        self._client = app.test_client()
        document = json.loads(self._client.get("/openapi.json").data)
        self._schema = schemathesis.openapi.from_dict(document)

    def __call__(self, name: str, path: str = "", **request: Any) -> TestResponse:
        method, template = name.split(" ", 1)
        operation = self._schema[template][method]
        answer = self._client.open(path or template, method=method, buffered=True, **request)
        assert str(answer.status_code) in operation.definition.raw["responses"]
        operation.validate_response(answer)
        return answer


def test_the_answers_of_every_rest_route_are_as_described(make_app: MakeApp) -> None:
    model = FakeModel.of(
        calls(("add", {"a": 5, "b": 3})), "The result is 8", otherwise=said("Hi", 3, 1)
    )
    ask = Checked(make_app(model=model))
    message = {"user_id": "alice", "message": "Hello"}
    for _ in range(2):
        assert ask("POST /chat", json=message).status_code == 200
    assert ask("POST /chat", json={**message, "stream": True}).mimetype == "text/event-stream"
    assert ask("POST /chat", json={"user_id": "bob", "message": "Hello"}).status_code == 200
    assert ask("POST /api/tokens", json={"user_id": "alice"}).status_code == 200

    assert ask("GET /api/tenants").status_code == 200
    first = ask("GET /api/tenants", "/api/tenants?limit=1")
    cursor = first.get_json()["next_cursor"]
    assert ask("GET /api/tenants", f"/api/tenants?limit=1&cursor={cursor}").status_code == 200
    one = "/api/tenants/alice"
    assert ask("GET /api/tenants/{user_id}", one).status_code == 200
    change = {"blocked": False, "rate_limit": "5/minute", "token_budget": "100/day"}
    assert ask("PATCH /api/tenants/{user_id}", one, json=change).status_code == 200
    assert ask("GET /api/tenants/{user_id}", one).get_json()["rate_limit"] == "5/minute"
    messages = ask("GET /api/tenants/{user_id}/messages", f"{one}/messages").get_json()
    assert {"system", "user", "assistant", "tool"} >= {m["role"] for m in messages["messages"]}
    assert any("tool_calls" in m for m in messages["messages"])
    assert ask("GET /api/tenants/{user_id}/sessions", f"{one}/sessions").status_code == 200
    for window in WINDOWS:
        query = f"?window={window}"
        assert ask("GET /api/metrics", f"/api/metrics{query}").status_code == 200
        figures = ask("GET /api/tenants/{user_id}/metrics", f"{one}/metrics{query}")
        assert figures.get_json()["requests"] == 3

    export = ask("GET /api/tenants/{user_id}/export", f"{one}/export")
    assert ask("DELETE /api/tenants/{user_id}/messages", f"{one}/messages").status_code == 200
    assert ask("DELETE /api/tenants/{user_id}", one).status_code == 200
    brought = ask(
        "POST /api/tenants/{user_id}/import",
        f"{one}/import",
        data=export.data,
        content_type="application/x-ndjson",
    )
    assert brought.get_json()["messages"] > 0
    done = ask("DELETE /api/tenants/messages", json={"confirm": "clear all tenants"})
    assert done.status_code == 200
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert ask(f"GET {path}").status_code == 200


def test_failures_are_as_described(make_app: MakeApp) -> None:
    model = FakeModel.of(ModelError("no"), ModelTimeout("late"), otherwise="Hi")
    app = make_app(model=model, RATE_LIMIT="4/minute", AUTH="required", MAX_BODY_BYTES="2000")
    ask = Checked(app)
    assert ask("POST /chat", json={}).status_code == 401

    ask = Checked(make_app(model=model, RATE_LIMIT="4/minute", MAX_BODY_BYTES="2000"))
    turn = {"user_id": "alice", "message": "Hello"}
    assert ask("POST /chat", json={}).status_code == 400
    assert ask("POST /chat", data=b"{", content_type="application/json").status_code == 400
    assert ask("POST /chat", data=b"x", content_type="text/plain").status_code == 415
    assert ask("POST /chat", json={**turn, "message": "x" * 3000}).status_code == 413
    assert ask("POST /chat", json=turn).status_code == 502
    assert ask("POST /chat", json=turn).status_code == 504
    key = {"Idempotency-Key": "k"}
    assert ask("POST /chat", json=turn, headers=key).status_code == 200
    other = {**turn, "message": "Other"}
    assert ask("POST /chat", json=other, headers=key).status_code == 422
    assert ask("POST /chat", json=turn).status_code == 429
    assert ask("POST /chat", json=turn, headers={"Host": "elsewhere.test"}).status_code == 421
    assert ask("GET /api/tenants", "/api/tenants?cursor=x").status_code == 400
    assert ask("GET /api/tenants/{user_id}", "/api/tenants/mallory").status_code == 404
    bad = "/api/tenants/mallory/import"
    kind = "application/x-ndjson"
    wrong = ask("POST /api/tenants/{user_id}/import", bad, data=b"{}", content_type=kind)
    assert wrong.status_code == 400


def test_a_server_without_a_database_says_so_as_described(make_app: MakeApp) -> None:
    ask = Checked(make_app(migrated=False))
    assert ask("GET /readyz").status_code == 503
    assert ask("GET /api/tenants").status_code == 503
    assert "switchboard_database_up 0" in ask("GET /metrics").text


# -- the page -------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Collects what a page would load and what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.loaded += [given[name] or "" for name in ("src", "href") if name in given]
        if tag in ("script", "style") or any(name == "style" or name[:2] == "on" for name in given):
            self.inline.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_every_operation_without_script_or_foreign_files(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    page = Tags()
    page.feed(answer.text)
    assert page.inline == []
    assert len(page.ids) == len(set(page.ids))
    for target in page.loaded:
        assert target.startswith(("/", "#"))
        if target.startswith("#"):
            assert target[1:] in page.ids
        else:
            with client.get(target) as file:
                assert file.status_code == 200
    for path, methods in document["paths"].items():
        assert path in page.text
        for operation in methods.values():
            assert operation["operationId"] in page.ids
            assert operation["summary"] in page.text


def test_neither_needs_a_credential(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/docs").status_code == 200
    for path in ("/openapi.json", "/docs"):
        answer = client.post(path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("root", ["", "/agent"])
def test_every_call_on_the_page_can_be_pasted_into_a_shell(
    make_app: MakeApp, document: dict[str, Any], root: str
) -> None:
    """As a shell takes them apart; behind a prefix as well, with the key where one is needed."""
    client = make_app(AUTH="required").test_client()
    answer = client.get("/docs", environ_overrides={"SCRIPT_NAME": root})
    calls = re.findall(
        r'<pre class="codeblock" tabindex="0">(curl .*?)</pre>', answer.text, re.DOTALL
    )
    assert len(calls) == sum(len(methods) for methods in document["paths"].values())
    for call in map(html.unescape, calls):
        words = shlex.split(call.replace("\\\n", ""))
        assert words[1].startswith(f"http://localhost{root}/")
        assert "{" not in words[1]
        given = dict(zip(words[2::2], words[3::2], strict=True))
        method = given.get("-X", "GET")
        path = words[1].removeprefix(f"http://localhost{root}")
        body = given.get("--data-binary", "")
        if body and not body.startswith("@"):
            json.loads(body)
        plain = client.open(path, method=method, data=body, content_type="application/json")
        assert plain.status_code not in (404, 405), call
        assert (plain.status_code == 401) == ("Authorization: Bearer" in call), call


def test_the_calls_of_an_open_server_send_no_key(client: FlaskClient) -> None:
    assert "$SWITCHBOARD_API_KEY" not in client.get("/docs").text
