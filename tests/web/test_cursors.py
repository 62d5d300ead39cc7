"""A cursor serves the list that gave it, unchanged, under the key that signed it, and no other."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeApp
from tests.web.admin.conftest import talk
from tests.web.admin.person import Person, sign_in
from webapp.errors import InvalidInput
from webapp.tenants.listing.query import SORTS, Position, TenantFilter, TenantQuery
from webapp.web.cursors import read_cursor, write_cursor

PLACE = Position(True, "user-ä😀", 7)
RUBBISH = [
    "x",
    "zzzz",
    "bnVsbA",
    "W10",
    "WzEsMiwzLDRd",
    "é",
    "[]",
    "e30=",
    ".",
    "..",
    "a.b.c",
    "%00",
]
NEWEST_SECRET = "8Kq2vT7wXz4LmN9pRs3Yb6Hc1Jd5Fg0-another-key"


def test_a_place_comes_back_as_it_was(app: Flask) -> None:
    with app.app_context():
        cursor = write_cursor(PLACE, "tenants", "user_id")
        assert cursor is not None
        assert cursor.isascii()
        assert read_cursor(cursor, Position, "tenants", "user_id") == PLACE
        assert write_cursor(None, "tenants") is None
        assert read_cursor(None, Position, "tenants") is None


def test_the_longest_id_fits(client: FlaskClient) -> None:
    for user_id in ("😀" * 254 + "a", "😀" * 254 + "b"):
        assert client.post("/chat", json={"user_id": user_id, "message": "x"}).status_code == 200
    path = "/api/tenants?limit=1&sort=user_id"
    cursor = client.get(path).get_json()["next_cursor"]
    assert client.get(f"{path}&cursor={cursor}").status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0), char=st.sampled_from("abcXYZ019-_. =\x00é"))
def test_not_one_character_may_change(app: Flask, place: int, char: str) -> None:
    with app.app_context():
        cursor = write_cursor(PLACE, "tenants")
        assert cursor is not None
        place %= len(cursor)
        changed = cursor[:place] + char + cursor[place + 1 :]
        # The last sign of the signature has bits to spare: other spellings of the same.
        if changed == cursor or place == len(cursor) - 1:
            return
        with pytest.raises(InvalidInput) as raised:
            read_cursor(changed, Position, "tenants")
        assert list(raised.value.fields) == ["cursor"]


def test_a_cursor_serves_only_its_own_list(app: Flask) -> None:
    query = TenantQuery()
    lists = [
        ("tenants", query.sort, query.filter),
        ("tenants", "user_id", query.filter),
        *(("tenants", query.sort, asked) for asked in _narrowed(query.filter)),
        ("messages", 1, None),
        ("messages", 1, "one"),
        ("messages", 2, None),
        ("messages", 11, None),
        ("ranking", "-requests", "24h"),
        ("ranking", "-requests", "7d"),
        ("audit", None),
        (),
    ]
    asked = [tuple(str(part) for part in of_list) for of_list in lists]
    with app.app_context():
        for made_for in asked:
            cursor = write_cursor(PLACE, *made_for)
            for other in asked:
                if other == made_for:
                    assert read_cursor(cursor, Position, *other) == PLACE
                    continue
                with pytest.raises(InvalidInput, match="another list"):
                    read_cursor(cursor, Position, *other)


def _narrowed(asked: TenantFilter) -> list[TenantFilter]:
    return [
        replace(asked, search="a"),
        replace(asked, prefix="a"),
        replace(asked, only="a"),
        replace(asked, has_errors=True),
        replace(asked, blocked=False),
    ]


@dataclass(frozen=True)
class Other:
    """A place of two parts, where `Position` has three."""

    value: int
    number: int


def test_one_of_another_shape_is_refused(app: Flask) -> None:
    """As an older version may have made it, for the same list."""
    with app.app_context():
        cursor = write_cursor(PLACE, "tenants")
        with pytest.raises(InvalidInput):
            read_cursor(cursor, Other, "tenants")


def test_a_new_secret_key_makes_an_old_cursor_a_plain_400(make_app: MakeApp) -> None:
    old, new = make_app(), make_app(SECRET_KEY=NEWEST_SECRET)
    client = old.test_client()
    for user_id in ("alice", "bob"):
        client.post("/chat", json={"user_id": user_id, "message": "x"})
    path = "/api/tenants?limit=1"
    cursor = client.get(path).get_json()["next_cursor"]
    assert client.get(f"{path}&cursor={cursor}").status_code == 200
    answer = new.test_client().get(f"{path}&cursor={cursor}")
    assert answer.status_code == 400
    body = answer.get_json()
    assert body["code"] == "invalid_input"
    assert body["fields"] == {"cursor": body["error"]}
    assert "leave it out to begin again" in body["error"]


@pytest.fixture
def owner(app: Flask) -> Person:
    for user_id in ("user-a", "user-b"):
        talk(app, user_id, *["Hello"] * 20)
    return sign_in(app, "alice", "owner")


LISTS = [
    "/api/tenants",
    "/api/tenants/user-a/messages",
    "/admin/tenants",
    "/admin/tenants.csv",
    "/admin/metrics",
    "/admin/audit",
    "/admin/tenants/user-a/conversation",
]


@pytest.mark.parametrize("path", [path for path in LISTS if path != "/admin/tenants.csv"])
def test_rubbish_is_no_cursor_of_any_list(app: Flask, owner: Person, path: str) -> None:
    ask = app.test_client().get if path.startswith("/api") else owner.open
    forged = base64.urlsafe_b64encode(json.dumps([True, 1, 1]).encode()).decode().rstrip("=")
    for rubbish in (*RUBBISH, "A" * 5000, forged, f"{forged}.{'A' * 43}", f".{forged}.AAAA"):
        answer = ask(f"{path}?cursor={rubbish}")
        assert answer.status_code == 400, rubbish
        assert "cursor" in answer.get_data(as_text=True)


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_has_its_way_on(client: FlaskClient, sort: str) -> None:
    for user_id in ("alice", "bob", "mallory"):
        client.post("/chat", json={"user_id": user_id, "message": "x"})
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = client.get(f"/api/tenants?limit=1&sort={sort}&cursor={cursor}").get_json()
        found += [tenant["user_id"] for tenant in body["tenants"]]
        cursor = body["next_cursor"]
    assert sorted(found) == ["alice", "bob", "mallory"]


def test_the_audit_log_has_pages_and_only_its_own_cursors(app: Flask, owner: Person) -> None:
    for number in range(60):
        owner.open(f"/admin/tenants/user-a/export?{number}")
    first = owner.read("/admin/audit")
    cursor = first.split("cursor=")[1].split('"')[0].split("&")[0]
    assert owner.open(f"/admin/audit?cursor={cursor}").status_code == 200
    assert owner.open(f"/admin/audit?action=sign_in&cursor={cursor}").status_code == 400
    assert owner.open(f"/admin/tenants?cursor={cursor}").status_code == 400
    assert owner.open("/admin/audit?cursor=3").status_code == 400
