"""The list of tenants, its downloads, and acts on several or all of them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from flask import Flask

from tests.conftest import services_of
from tests.web.admin.conftest import audit_of, messages_of, talk
from tests.web.admin.person import Person, form_to
from webapp.tenants.restrictions.change import TenantChange
from webapp.web.admin.display.downloads import cell

SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture
def tenants(app: Flask) -> list[str]:
    names = ["user-a", "user-b", "user-c", SCRIPT]
    for name in names:
        talk(app, name, *["Hello"] * (names.index(name) + 1))
    return names


def test_the_list_shows_everybody_and_escapes_their_ids(alice: Person, tenants: list[str]) -> None:
    page = alice.read("/admin/tenants")
    for name in ("user-a", "user-b", "user-c", "&lt;img src=x onerror=alert(1)&gt;"):
        assert name in page
    assert SCRIPT not in page


def test_the_sort_is_over_all_rows(alice: Person, tenants: list[str]) -> None:
    page = alice.read("/admin/tenants?sort=message_count")
    assert page.index('title="user-a"') < page.index('title="user-c"')
    page = alice.read("/admin/tenants?sort=-message_count")
    assert page.index('title="user-c"') < page.index('title="user-a"')


def test_a_search_and_filters_narrow_the_list(
    app: Flask, alice: Person, tenants: list[str]
) -> None:
    services_of(app).directory.update("user-b", TenantChange(blocked=True))
    page = alice.read("/admin/tenants?state=blocked&search=ser-")
    assert "user-b" in page
    assert "user-a" not in page
    assert "No tenant matches" in alice.read("/admin/tenants?search=nobody")


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=W10", "sort=nothing", "state=odd", "search=" + "x" * 256]
)
def test_a_view_that_cannot_be_is_a_plain_page(alice: Person, query: str) -> None:
    answer = alice.open(f"/admin/tenants?{query}")
    assert answer.status_code == 400
    assert "Back to the console" in answer.text


def test_pages_lead_on_and_back(app: Flask, alice: Person) -> None:
    for number in range(52):
        talk(app, f"user-{number:02}")
    first = alice.read("/admin/tenants?sort=user_id")
    assert "user-49" in first
    assert "50 of 52" in first
    following = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = alice.read(following)
    assert "user-51" in second
    assert "user-49" not in second
    back = second.split('rel="prev" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "user-49" in alice.read(back)


def test_the_same_view_comes_as_csv_and_json(alice: Person, tenants: list[str]) -> None:
    query = "search=user&sort=user_id"
    rows = list(csv.DictReader(io.StringIO(alice.read(f"/admin/tenants.csv?{query}"))))
    assert [row["user_id"] for row in rows] == ["user-a", "user-b", "user-c"]
    assert [row["message_count"] for row in rows] == ["2", "4", "6"]
    found = json.loads(alice.read(f"/admin/tenants.json?{query}"))["tenants"]
    assert [tenant["user_id"] for tenant in found] == ["user-a", "user-b", "user-c"]
    assert set(rows[0]) == set(found[0])
    assert json.loads(alice.read("/admin/tenants.json?search=nobody")) == {"tenants": []}


NAMES_LIKE_FORMULAS = [
    *(
        "=cmd|' '!A0",
        "+1",
        "-1+2",
        "@SUM(A1)",
        "＝1",
        "＋1",
        "－1",
        "＠SUM(A1)",
        "﹦1",
        "﹢1",
        "⁼1",
    ),
    *("\ufeff=1", "\u200b=1", "\u2060\ufeff@A1", "\xad+1", "\u202e-1", "\u180e=1", "\u034f=1"),
    *("\u3164=1", "\u115f＝1", "\ufe0f=1", "\U000e0041=1", "\u2061\u2062+1", "\u22121"),
]


@pytest.mark.parametrize("name", NAMES_LIKE_FORMULAS)
def test_no_cell_can_be_taken_for_a_formula(app: Flask, alice: Person, name: str) -> None:
    talk(app, name)
    text = alice.read("/admin/tenants.csv")
    assert next(csv.DictReader(io.StringIO(text)))["user_id"] == "'" + name


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n1", "'\n1"),
        (" \xa0=1", "' \xa0=1"),
        ("\x00=1", "'\x00=1"),
        ("", ""),
        ("\ufeff", "\ufeff"),
        ("a=1", "a=1"),
        (";=1", ";'=1"),
        ("a; \ufeff=1;@x", "a;' \ufeff=1;'@x"),
        ("a\n=1", "a\n'=1"),
        ("a;b; c: -1", "a;b; c: -1"),
        ("1-2", "1-2"),
        ("名前", "名前"),
        (-5, -5),
        (-0.5, -0.5),
        (None, ""),
    ],
)
def test_a_cell_keeps_what_is_no_formula(value: object, shown: object) -> None:
    assert cell(value) == shown


def test_a_selection_is_cleared_after_a_question(
    app: Flask, bob: Person, tenants: list[str]
) -> None:
    chosen = ["user-a", "user-b", "gone"]
    question = bob.post("/admin/selected-tenants", action="clear", user_id=chosen)
    assert question.status_code == 200
    assert messages_of(app, "user-a") == 2
    assert "1\xa0tenant of your selection is gone" in question.text
    form = form_to(question.text, "/admin/selected-tenants").with_fields()
    answer = bob.client.post("/admin/selected-tenants", data=form)
    assert "Cleared 6\xa0messages of 2\xa0tenants." in bob.follow(answer)
    assert [messages_of(app, name) for name in ("user-a", "user-b", "user-c")] == [0, 0, 6]
    assert [entry["before"] for entry in audit_of(app, "clear_tenant")] == [
        {"messages": 4},
        {"messages": 2},
    ]
    again = bob.client.post("/admin/selected-tenants", data=form)
    assert "was done already" in bob.follow(again)
    assert len(audit_of(app, "clear_tenant")) == 2


def test_a_selection_is_blocked_and_unblocked(app: Flask, bob: Person, tenants: list[str]) -> None:
    for action, blocked in (("block", True), ("unblock", False)):
        question = bob.post(
            "/admin/selected-tenants", action=action, user_id=["user-a", "user-b"], next="//evil"
        )
        form = form_to(question.text, "/admin/selected-tenants").with_fields()
        answer = bob.client.post("/admin/selected-tenants", data=form)
        assert answer.headers["Location"] == "/admin/tenants"
        assert services_of(app).directory.get("user-a").blocked is blocked


def test_an_empty_or_odd_selection_does_nothing(bob: Person) -> None:
    assert bob.post("/admin/selected-tenants", action="clear").status_code == 400
    assert bob.post("/admin/selected-tenants", action="x", user_id="a").status_code == 400
    many = [f"user-{number}" for number in range(201)]
    assert bob.post("/admin/selected-tenants", action="block", user_id=many).status_code == 400


def test_clearing_all_needs_the_words(app: Flask, alice: Person, tenants: list[str]) -> None:
    question = alice.read("/admin/clear-all")
    assert "20" in question
    for words in ("", "clear all", "Clear All Tenants", "clear all tenants!"):
        answer = alice.submit("/admin/clear-all", confirm=words)
        assert answer.status_code == 400
        assert "Nothing was cleared" in answer.text
    assert messages_of(app, "user-c") == 6


def test_clearing_all_says_exactly_what_went_and_does_it_once(
    app: Flask, alice: Person, tenants: list[str]
) -> None:
    form = form_to(alice.read("/admin/clear-all"), "/admin/clear-all")
    sent = form.with_fields(confirm="clear all tenants")
    first = alice.client.post("/admin/clear-all", data=sent)
    assert "Cleared 20\xa0messages of 4\xa0tenants." in alice.follow(first)
    talk(app, "user-a")
    second = alice.client.post("/admin/clear-all", data=sent)
    assert "Cleared 20\xa0messages of 4\xa0tenants." in alice.follow(second)
    assert messages_of(app, "user-a") == 2
    entry = audit_of(app, "clear_all")
    assert [(e["actor"], e["before"]) for e in entry] == [
        ("admin:alice", {"messages": 20, "tenants": 4})
    ]


def test_clearing_all_is_not_for_operators(app: Flask, bob: Person, tenants: list[str]) -> None:
    answer = bob.post("/admin/clear-all", confirm="clear all tenants")
    assert answer.status_code == 403
    assert messages_of(app, "user-c") == 6
