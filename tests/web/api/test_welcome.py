"""Tests of the address `/`, which a newcomer opens first."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeApp
from webapp import __version__

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/plain, */*", "a/b"])
def test_programs_get_json_with_the_links(client: FlaskClient, accept: str | None) -> None:
    answer = client.get("/", headers={} if accept is None else {"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert "Accept" in answer.headers["Vary"]
    body = answer.get_json()
    assert (body["name"], body["version"]) == ("Switchboard", __version__)
    for link in body["links"].values():
        assert client.get(link, follow_redirects=True).status_code in (200, 405)
    assert set(body["links"]) == {"chat", "console", "docs", "openapi", "health", "ready"}


def test_a_browser_gets_a_page_whose_links_lead_somewhere(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept": BROWSER})
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert "Accept" in answer.headers["Vary"]
    links = re.findall(r'href="([^"]+)"', answer.text)
    assert {"/admin", "/docs", "/readyz", "/healthz", "/openapi.json"} <= {
        link.rstrip("/") for link in links
    }
    for link in links:
        if not link.startswith("#"):
            with client.get(link, follow_redirects=True) as found:
                assert found.status_code == 200, link
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert __version__ in answer.text
    assert "Bearer" not in answer.text


def test_where_a_key_is_needed_the_page_says_so(make_app: MakeApp) -> None:
    client = make_app(AUTH="required").test_client()
    page = client.get("/", headers={"Accept": BROWSER})
    assert page.status_code == 200
    assert "Authorization: Bearer $SWITCHBOARD_KEY" in page.text
    assert "switchboard keys create" in page.text


def test_it_takes_no_other_method(client: FlaskClient) -> None:
    assert client.head("/").status_code == 200
    refused = client.post("/", json={})
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
