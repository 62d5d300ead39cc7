"""Many small fields: refused by their number, before they are taken apart."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from webapp.errors import TooManyFields
from webapp.web.bounds import MAX_JSON_ITEMS, require_few_items


def post(client: FlaskClient, path: str, body: bytes, kind: str, **headers: str) -> tuple[int, str]:
    answer = client.post(path, data=body, content_type=kind, headers=headers)
    code = answer.json.get("code", "") if answer.is_json and answer.json else ""
    return answer.status_code, code


@pytest.mark.parametrize("field", [b"a", b"a=", b"=", b"", b"a=1", b"%41=%41", b"user_id=x"])
def test_a_form_of_many_fields_is_refused_to_a_stranger(client: FlaskClient, field: bytes) -> None:
    body = b"&".join([field] * 20_000)[:60_000]
    assert post(client, "/admin/login", body, "application/x-www-form-urlencoded")[0] == 413


def test_a_strangers_form_is_small(client: FlaskClient) -> None:
    form = "application/x-www-form-urlencoded"
    assert post(client, "/admin/login", b"name=" + b"x" * 70_000, form)[0] == 413
    assert post(client, "/admin/login", b"name=" + b"x" * 60_000, form)[0] != 413


def test_no_form_of_files_is_taken(client: FlaskClient) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    for boundary in ("x", "x" * 7000):
        kind = f"multipart/form-data; boundary={boundary}"
        assert post(client, "/admin/login", part * 1000 + b"--x--", kind)[0] == 415


@pytest.mark.parametrize("path", ["/chat", "/api/tokens"])
@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}",
        b'{"message":[' + b"1," * 20_000 + b"1]}",
        b'{"message":[' + b"[]," * 20_000 + b"[]]}",
        b'{"message":[' + b'"",' * 20_000 + b'""]}',
        b'{"message":[' + b'"\\"",' * 20_000 + b'""]}',
    ],
    ids=["keys", "numbers", "lists", "strings", "escaped"],
)
def test_json_of_many_values_is_refused(client: FlaskClient, path: str, body: bytes) -> None:
    assert post(client, path, body, "application/json") == (413, "too_many_fields")


def test_what_stands_in_a_string_is_no_field(client: FlaskClient) -> None:
    for text in ("," * 30_000, "[{" * 15_000, '\\",[' * 7_000, '"' * 15_000 + "," * 15_000):
        body = json.dumps({"user_id": "alice", "message": text}).encode()
        assert post(client, "/chat", body, "application/json")[0] == 200


def test_the_bound_is_exact() -> None:
    fits = b"[" + b"1," * (MAX_JSON_ITEMS - 1) + b"1]"
    require_few_items(fits)
    with pytest.raises(TooManyFields):
        require_few_items(fits + b",")


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\', b"\\", b'"\\"', b'",'])
def test_strings_that_do_not_end_cost_nothing_more(unit: bytes) -> None:
    body = b"," * (MAX_JSON_ITEMS + 1) + unit * (1024 * 1024 // len(unit))
    with pytest.raises(TooManyFields):
        require_few_items(body)  # a quadratic search would not come to its end


@pytest.mark.parametrize("path", ["/healthz", "/api/tenants", "/admin/login", "/static/app.css"])
def test_a_query_of_many_fields_is_refused(client: FlaskClient, path: str) -> None:
    answer = client.get(f"{path}?{'a&' * 4000}")
    assert answer.status_code == 400
    answer.close()


def test_a_query_of_some_fields_is_looked_at(client: FlaskClient) -> None:
    few = client.get("/admin/login?" + "&".join(f"utm_{n}=x" for n in range(20)))
    assert few.status_code == 200


def test_many_cookies_are_refused(client: FlaskClient) -> None:
    bare = client.application.test_client(use_cookies=False)

    def status(number: int) -> int:
        return bare.get("/healthz", headers={"Cookie": "; ".join(["a=1"] * number)}).status_code

    assert status(4000) == 400
    assert status(100) == 200
