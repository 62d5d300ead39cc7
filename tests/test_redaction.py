"""A URL is shown without its password and without the values of its query."""

from __future__ import annotations

import pytest

from webapp.redaction import redacted_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example.org/v1", "https://api.example.org/v1"),
        ("https://ada:hunter2@h.example:8443/v1", "https://ada:***@h.example:8443/v1"),
        ("https://ada:a@b:c@h.example/v1", "https://ada:***@h.example/v1"),
        ("https://sk-token@h.example/v1", "https://***@h.example/v1"),
        ("https://:hunter2@h.example/v1", "https://***@h.example/v1"),
        (
            "https://h.example/v1?api-version=2&key=k",
            "https://h.example/v1?api-version=***&key=***",
        ),
        ("https://h.example/v1?sk-token", "https://h.example/v1?***"),
        ("https://h.example/#sk-token", "https://h.example/#***"),
        ("http://u:p@[::1]:8080/", "http://u:***@[::1]:8080/"),
        ("redis://:hunter2@h:6379/0", "redis://***@h:6379/0"),
        ("postgresql://u:p@h/db?sslpassword=x", "postgresql://u:***@h/db?sslpassword=***"),
        ("sqlite:////srv/switchboard.db", "sqlite:////srv/switchboard.db"),
        ("memory://", "memory://"),
        ("http://[hunter2", "***"),
        ("redis://h1:1,h2:hunter2/0", "***"),
        ("ada:hunter2@h.example", "***"),
    ],
)
def test_what_opens_something_is_hidden(url: str, shown: str) -> None:
    assert redacted_url(url) == shown
