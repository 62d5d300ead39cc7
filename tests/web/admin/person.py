"""A person at the console: a client that is signed in and fills in forms as a browser does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import services_of
from webapp.accounts.audit import Actor
from webapp.web.admin.session.visitor import SESSION_COOKIE


@dataclass
class Form:
    """A form of a page: where it goes, and its fields as they stand."""

    action: str
    method: str = "get"
    fields: list[tuple[str, str]] = field(default_factory=list)

    def with_fields(self, **typed: str) -> dict[str, list[str]]:
        """What a browser would send, with these fields typed over."""
        sent: dict[str, list[str]] = {}
        for name, value in self.fields:
            if name not in typed:
                sent.setdefault(name, []).append(value)
        return {**sent, **{name: [value] for name, value in typed.items()}}

    @property
    def hidden(self) -> dict[str, str]:
        return dict(self.fields)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._area: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input" and given.get("name") and self.found:
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self.found[-1].fields.append((given["name"], given.get("value", "")))
        elif tag == "textarea":
            self._area, self._text = given.get("name", ""), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area:
            self.found[-1].fields.append((self._area, self._text.removeprefix("\n")))
            self._area = None


def forms_of(html: str) -> list[Form]:
    parser = _Forms()
    parser.feed(html)
    return parser.found


def form_to(html: str, action: str) -> Form:
    """The form of the page that goes there."""
    for form in forms_of(html):
        if form.action == action:
            return form
    raise AssertionError(f"no form goes to {action}")


@dataclass
class Person:
    """Somebody with a browser; `name` is their account."""

    client: FlaskClient
    name: str

    def open(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def read(self, path: str) -> str:
        answer = self.open(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def token(self) -> str:
        """A form token of this person's session."""
        return form_to(self.read("/admin/account"), "/admin/logout").hidden["csrf_token"]

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
        """Sends fields to an address with the session's token."""
        return self.client.post(path, data={"csrf_token": self.token(), **fields}, headers=headers)

    def submit(self, page: str, action: str | None = None, **typed: str) -> TestResponse:
        """Opens a page, fills in the form that goes to `action` (the page itself) and sends it."""
        form = form_to(self.read(page), action or page)
        return self.client.post(form.action, data=form.with_fields(**typed))

    def follow(self, answer: TestResponse) -> str:
        """The page that a POST leads to."""
        assert answer.status_code == 303, f"{answer.status_code}: {answer.text[:500]}"
        return self.read(answer.headers["Location"])


def sign_in(app: Flask, name: str, role: str) -> Person:
    """A new account, signed in; without a password, because hashing one takes its time."""
    services = services_of(app)
    services.admins.create(name, by=Actor.command_line(), role=role)
    return sign_in_again(app, name)


def sign_in_again(app: Flask, name: str) -> Person:
    services = services_of(app)
    link = services.sign_in.make_link(name, by=Actor.command_line())
    session = services.sign_in.with_link(link, address="127.0.0.1")
    client = app.test_client()
    client.set_cookie(SESSION_COOKIE, session.token, path="/admin")
    return Person(client, name)
