"""Doors: which of them a path belongs to, and that a new one is a value and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Response

import webapp.web
from tests.conftest import MakeApp
from webapp.errors import SwitchboardError
from webapp.web import routes
from webapp.web.admin.door import CONSOLE, FILES
from webapp.web.api.door import REST
from webapp.web.context import context
from webapp.web.door import Door, Doors
from webapp.web.sse import NamedEvents


@pytest.mark.parametrize(
    ("path", "door"),
    [
        ("/", REST),
        ("/chat", REST),
        ("/api/tenants", REST),
        ("/nothing/here", REST),
        ("/admin", CONSOLE),
        ("/admin/", CONSOLE),
        ("/admin/tenants/a%2Fb", CONSOLE),
        ("/administrator", REST),
        ("/Admin", REST),
        ("/static", FILES),
        ("/static/app.css", FILES),
        ("/statics", REST),
        ("", REST),
    ],
)
def test_a_path_belongs_to_the_door_whose_prefix_it_has(path: str, door: Door) -> None:
    assert Doors(routes.DOORS).of(path) is door


def test_two_slashes_lead_to_the_same_door_as_one(make_app: MakeApp) -> None:
    answer = make_app().test_client().get(environ_overrides={"PATH_INFO": "//admin/nothing"})
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_path_that_only_begins_like_the_console_is_no_page_of_it(make_app: MakeApp) -> None:
    answer = make_app().test_client().get("/administrator")
    assert answer.get_json()["code"] == "not_found"
    assert "Set-Cookie" not in answer.headers


def test_a_door_decides_caller_errors_headers_and_origins(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find() -> None:
        asked.append(context().door.name)

    def write(error: SwitchboardError) -> Response:
        return Response(f"no: {error.code}", status=error.status, mimetype="text/plain")

    other = Door(
        name="other",
        prefix="/v1",
        find_caller=find,
        write_error=write,
        events=NamedEvents(),
        headers={"Content-Security-Policy": "sandbox", "X-Door": "other"},
        cross_origin=False,
        documented=False,
    )
    monkeypatch.setattr(routes, "DOORS", (other, *routes.DOORS))
    client = make_app(AUTH="required", CORS_ORIGINS="https://app.example").test_client()
    origin = {"Origin": "https://app.example"}

    answer = client.get("/v1/nothing", headers=origin)
    assert (answer.status_code, answer.text) == (404, "no: not_found")
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Door"] == "other"
    assert answer.headers["X-Request-Id"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert asked == ["other"]

    beside = client.get("/v10", headers=origin)
    assert beside.get_json()["code"] == "not_found"
    assert beside.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "X-Door" not in beside.headers
    assert asked == ["other"]


def test_no_module_but_a_door_looks_at_the_beginning_of_a_path() -> None:
    package = Path(webapp.web.__file__).parent
    looks = re.compile(r"\b(?:path|rule)\.(?:startswith|find)\(|\"/admin(?!s)")
    found = {
        module.relative_to(package).as_posix()
        for module in package.rglob("*.py")
        if looks.search(module.read_text())
    }
    assert found == {"door.py", "admin/paths.py"}
