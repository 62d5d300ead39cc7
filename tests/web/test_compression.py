"""What is compressed on the way to a browser, and what is not."""

from __future__ import annotations

import gzip

import pytest
from flask.testing import FlaskClient

GZIP = {"Accept-Encoding": "gzip, br"}


@pytest.mark.parametrize("path", ["/static/app.css", "/static/app.js", "/static/icon.svg"])
def test_a_file_is_the_same_compressed_and_plain(client: FlaskClient, path: str) -> None:
    plain = client.get(path, buffered=True)
    small = client.get(path, headers=GZIP, buffered=True)
    assert small.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in small.headers["Vary"]
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(small.data) == plain.data
    assert int(small.headers["Content-Length"]) == len(small.data)


def test_a_browser_that_has_the_file_is_told_so(client: FlaskClient) -> None:
    etag = client.get("/static/app.css", headers=GZIP, buffered=True).headers["ETag"]
    asked = {**GZIP, "If-None-Match": etag}
    again = client.get("/static/app.css", headers=asked, buffered=True)
    assert (again.status_code, again.data) == (304, b"")


def test_pages_with_secrets_in_them_are_not_compressed(client: FlaskClient) -> None:
    page = client.get("/admin/login", headers=GZIP)
    assert page.status_code == 200
    assert "Content-Encoding" not in page.headers
