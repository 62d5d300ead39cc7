"""Keys, admins, the audit log and the settings' page."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3

import pytest
from flask import Flask

from tests.conftest import SECRET, MakeApp, services_of
from tests.web.admin.conftest import audit_of, talk
from tests.web.admin.person import Person, form_to, forms_of, sign_in
from webapp.web.admin.figures.cache import EXTENSION as FIGURE_CACHE

KEY = re.compile(r"sb_[0-9a-f]{12}_[\w-]+")


def make_key(person: Person, **fields: str) -> str:
    typed = {"name": "backend", "role": "chat", "users": "*", "expires": "30d", **fields}
    answer = person.submit("/admin/keys", **typed)
    assert answer.status_code == 200
    found = KEY.search(answer.text)
    assert found
    assert answer.headers["Cache-Control"] == "no-store"
    return found[0]


def test_a_key_is_shown_once_and_works(app: Flask, alice: Person) -> None:
    secret = make_key(alice)
    principal = services_of(app).keys.verify(secret)
    assert principal
    assert principal.role == "chat"
    assert secret not in alice.read("/admin/keys")
    assert "sb_" + secret.split("_")[1] in alice.read("/admin/keys")
    assert secret not in json.dumps(audit_of(app, "create_key"))


def test_a_key_form_sent_twice_makes_one_key(app: Flask, alice: Person) -> None:
    form = form_to(alice.read("/admin/keys"), "/admin/keys")
    sent = form.with_fields(name="backend", users="*", role="chat", expires="")
    assert alice.client.post("/admin/keys", data=sent).status_code == 200
    again = alice.client.post("/admin/keys", data=sent)
    assert "was made once" in alice.follow(again)
    assert len(services_of(app).keys.list()) == 1


@pytest.mark.parametrize(
    ("field", "typed"), [("name", ""), ("users", "a*b"), ("users", "a/b"), ("name", "x" * 101)]
)
def test_a_bad_key_is_said_at_its_field(app: Flask, alice: Person, field: str, typed: str) -> None:
    fields = {"name": "backend", "role": "chat", "users": "*", "expires": "", field: typed}
    answer = alice.submit("/admin/keys", **fields)
    assert answer.status_code == 400
    assert f'id="f-{field}-fault"' in answer.text
    assert services_of(app).keys.list() == ()


def test_a_key_is_rotated_with_an_overlap_and_revoked(app: Flask, alice: Person) -> None:
    old = make_key(alice)
    key_id = old.split("_")[1]
    answer = alice.submit(f"/admin/keys/{key_id}/rotate")
    found = KEY.search(answer.text)
    assert found
    new = found[0]
    keys = services_of(app).keys
    assert keys.verify(old)
    assert keys.verify(new)
    assert "Retiring" in alice.read("/admin/keys")
    assert "is revoked" in alice.follow(alice.submit(f"/admin/keys/{key_id}/revoke"))
    assert keys.verify(old) is None
    assert keys.verify(new)


def test_an_unknown_key_is_a_plain_page(alice: Person) -> None:
    assert alice.open("/admin/keys/0123456789ab/revoke").status_code == 404


def test_an_admin_is_made_by_password_or_by_link(app: Flask, alice: Person) -> None:
    answer = alice.submit(
        "/admin/admins", name="bob", role="operator", password="correct horse battery"
    )
    assert "may sign in as operator" in alice.follow(answer)
    answer = alice.submit("/admin/admins", name="carol", role="viewer", password="")
    link = re.search(r"http://localhost(/admin/login/link\?token=[\w-]+)", answer.text)
    assert link
    carol = app.test_client()
    form = form_to(carol.get(link[1]).text, "/admin/login/link")
    assert carol.post("/admin/login/link", data=form.with_fields()).status_code == 303
    assert carol.get("/admin/").status_code == 200
    assert carol.get("/admin/admins").status_code == 403


def test_a_bad_admin_is_said_at_its_field_and_no_password_comes_back(alice: Person) -> None:
    answer = alice.submit("/admin/admins", name="bob", role="viewer", password="tiny-secret")
    assert answer.status_code == 400
    assert "f-password-fault" in answer.text
    assert "tiny-secret" not in answer.text
    taken = alice.submit("/admin/admins", name="Alice", role="viewer", password="")
    assert taken.status_code == 409


def test_roles_change_at_once_and_the_last_owner_stays(
    app: Flask, alice: Person, bob: Person
) -> None:
    assert alice.post("/admin/admins/alice/role", role="viewer").status_code == 409
    assert alice.submit("/admin/admins/alice/disable").status_code == 409
    alice.post("/admin/admins/bob/role", role="viewer")
    assert bob.open("/admin/clear-all").status_code == 403
    assert "is disabled" in alice.follow(alice.submit("/admin/admins/bob/disable"))
    assert bob.open("/admin/").status_code == 303
    assert alice.post("/admin/admins/bob/enable").status_code == 303
    assert audit_of(app, "disable_admin")


def test_an_owner_signs_somebody_out_everywhere(alice: Person, bob: Person) -> None:
    alice.submit("/admin/admins/bob/sign-out")
    assert bob.open("/admin/").status_code == 303


def test_the_audit_log_is_filtered_and_its_chain_is_whole(app: Flask, alice: Person) -> None:
    talk(app, "user-a")
    talk(app, "user-b")
    alice.submit("/admin/tenants/user-a/clear")
    alice.submit("/admin/tenants/user-b/clear")
    page = alice.read("/admin/audit?tenant=user-a&actor=alice&action=clear_tenant")
    assert 'title="user-a"' in page
    assert 'title="user-b"' not in page
    assert "Chain whole" in page
    assert "No entry matches" in alice.read("/admin/audit?tenant=nobody")
    assert "No entry matches" in alice.read("/admin/audit?until=2001-01-01")
    assert alice.open("/admin/audit?since=yesterday").status_code == 400
    rows = list(csv.DictReader(io.StringIO(alice.read("/admin/audit.csv?action=clear_tenant"))))
    assert [row["tenant"] for row in rows] == ["user-b", "user-a"]
    entries = json.loads(alice.read("/admin/audit.json?action=clear_tenant"))["entries"]
    assert [entry["before"] for entry in entries] == [{"messages": 2}, {"messages": 2}]


def test_a_forgotten_tenants_name_is_not_in_the_audit_log(app: Flask, alice: Person) -> None:
    talk(app, "user-unforgettable")
    alice.submit("/admin/tenants/user-unforgettable/forget")
    page = alice.read("/admin/audit")
    assert "user-unforgettable" not in page
    assert "a forgotten tenant" in page


def test_the_settings_page_says_where_from_and_shows_no_secret(make_app: MakeApp) -> None:
    app = make_app(
        MODEL="some-model",
        JWT_JWKS_URL="https://ada:hunter2@idp.example/keys?key=hunter3",
        JWT_SECRET="Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3",
    )
    mallory = sign_in(app, "mallory", "viewer")
    page = mallory.read("/admin/settings")
    assert SECRET not in page
    assert "Qm5zXc8vLw2kTy7r-tokens-NpJb4HsGd9FuAe3" not in page
    assert "https://ada:***@idp.example/keys?key=***" in page
    assert "hunter" not in page
    assert "set, not shown" in page
    assert "some-model" in page
    assert "Environment" in page
    for text in ("<code>35d</code>", "<code>30m</code>", "<code>1h</code>", "<code>3m</code>"):
        assert text in page  # 3m: three times MODEL_TIMEOUT
    assert forms_of(page)


def test_a_log_that_was_written_into_is_shown_with_what_is_wrong(app: Flask, alice: Person) -> None:
    for name in ("first", "second"):
        make_key(alice, name=name)
    assert "Chain whole" in alice.read("/admin/audit")
    database = services_of(app).database
    connection = sqlite3.connect(database.url.removeprefix("sqlite:///"))
    connection.execute("DROP TRIGGER audit_refuses_update")
    connection.execute(
        "UPDATE audit SET actor = x'00ff', at = 9e18, action = CAST(x'ff' AS TEXT),"
        " before = '[[1]]', after = '{\"expires_at\": 99999999999999999999, \"b\": [{}]}',"
        " tenant_id = 'bob' WHERE id = 2"
    )
    connection.commit()
    connection.close()
    app.extensions[FIGURE_CACHE]._entries.clear()
    page = alice.read("/admin/audit")
    assert "The chain is broken at entry 2" in page
    assert "damaged" in page
    assert len(list(csv.DictReader(io.StringIO(alice.read("/admin/audit.csv"))))) >= 4
    assert len(json.loads(alice.read("/admin/audit.json"))["entries"]) >= 4


def test_script_in_a_name_or_a_session_stays_text(app: Flask, alice: Person) -> None:
    script = "<script>alert(1)<\\script>"
    make_key(alice, name=script)
    talk(app, "user-a", script, session_id=script)
    talk(app, script)
    key_id = services_of(app).keys.list()[0].id
    alice.submit(f"/admin/keys/{key_id}/revoke")
    pages = ("keys", "audit", "tenants", "tenants/user-a", "playground?user_id=<script>", "metrics")
    for page in pages:
        html = alice.read(f"/admin/{page}")
        assert "<script>alert" not in html, page
        assert 'value="<script>' not in html, page
