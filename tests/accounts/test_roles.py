"""The table of roles, and the values that carry it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.accounts.principal import Principal
from webapp.accounts.roles import ADMIN_ROLES, PERMISSIONS, ROLES, Permission, check_role, may
from webapp.accounts.user_pattern import UserPattern
from webapp.errors import Forbidden, InvalidInput, NotFound


def key(role: str, users: str) -> Principal:
    return Principal("key", "abc", check_role(role), UserPattern.parse(users))


def token(user_id: str) -> Principal:
    return Principal("token", "abc", "chat", UserPattern.only(user_id))


def test_chat_runs_turns_and_nothing_else() -> None:
    assert PERMISSIONS["chat"] == {
        Permission.RUN_TURNS,
        Permission.ISSUE_TOKENS,
    }


def test_each_role_of_a_person_may_all_that_the_one_before_may() -> None:
    assert PERMISSIONS["viewer"] < PERMISSIONS["operator"] < PERMISSIONS["owner"]
    assert PERMISSIONS["chat"] < PERMISSIONS["operator"]


def test_a_viewer_changes_nothing_but_its_own_account_and_runs_no_turn() -> None:
    changing = {p for p in PERMISSIONS["viewer"] if not p.value.startswith("read_")}
    assert changing == {Permission.MANAGE_OWN_ACCOUNT}


def test_an_operator_does_nothing_to_everyone_at_once() -> None:
    assert PERMISSIONS["owner"] - PERMISSIONS["operator"] == {
        Permission.IMPORT_TENANT,
        Permission.CLEAR_ALL,
        Permission.EXPORT_ALL,
        Permission.IMPORT_ALL,
        Permission.CHANGE_AGENT,
        Permission.MANAGE_KEYS,
        Permission.MANAGE_ADMINS,
    }


def test_every_permission_is_the_owners() -> None:
    assert PERMISSIONS["owner"] == set(Permission)
    assert all(may("owner", permission) for permission in Permission)


@pytest.mark.parametrize("value", ["root", "", "Owner", "owner ", None, 3])
def test_an_unknown_role_is_refused_with_the_names_of_the_known(value: object) -> None:
    with pytest.raises(InvalidInput, match="chat, viewer, operator, owner"):
        check_role(value)


def test_a_person_cannot_have_the_role_of_a_program() -> None:
    with pytest.raises(InvalidInput):
        check_role("chat", among=ADMIN_ROLES)
    assert "chat" in ROLES


def test_a_token_speaks_for_its_user_and_signs_no_further_tokens() -> None:
    alice = token("alice")
    assert alice.may(Permission.RUN_TURNS)
    assert not alice.may(Permission.ISSUE_TOKENS)
    assert alice.speaks_for(None) == "alice"
    with pytest.raises(Forbidden):
        alice.speaks_for("bob")


@pytest.mark.parametrize("user_id", ["*", "a*", "org-acme-*"])
def test_a_token_whose_user_looks_like_a_pattern_is_still_one_user(user_id: str) -> None:
    principal = token(user_id)
    assert principal.may_speak_for(user_id)
    assert not principal.may_speak_for(user_id[:-1] + "bob")
    assert not principal.users.is_all


def test_a_key_must_be_told_its_user() -> None:
    with pytest.raises(Forbidden):
        key("chat", "alice").speaks_for(None)


def test_a_key_out_of_its_pattern_is_refused_a_turn_and_sees_no_tenant() -> None:
    acme = key("owner", "org-acme-*")
    assert acme.speaks_for("org-acme-alice") == "org-acme-alice"
    with pytest.raises(Forbidden):
        acme.speaks_for("org-evil-mallory")
    with pytest.raises(NotFound):
        acme.looks_at("org-evil-mallory")


def test_a_key_for_some_users_does_nothing_that_touches_all() -> None:
    acme = key("owner", "org-acme-*")
    assert acme.may(Permission.CLEAR_TENANT)
    assert not acme.may(Permission.CLEAR_ALL)
    assert not acme.may(Permission.MANAGE_KEYS)
    with pytest.raises(Forbidden):
        acme.require(Permission.READ_AUDIT)
    key("owner", "*").require(Permission.CLEAR_ALL)


def test_actors_have_names_for_the_audit_log() -> None:
    assert Principal.local().actor == "local"
    assert Principal.admin("alice", "owner").actor == "admin:alice"
    assert key("chat", "*").actor == "key:abc"


@pytest.mark.parametrize(
    ("pattern", "user_id", "matches"),
    [
        ("*", "anyone", True),
        ("alice", "alice", True),
        ("alice", "alice2", False),
        ("alice", "Alice", False),
        ("org-acme-*", "org-acme-", True),
        ("org-acme-*", "org-acme-bob", True),
        ("org-acme-*", "org-acmebob", False),
        ("org-acme-*", "ORG-ACME-bob", False),
        ("org.acme*", "orgXacme", False),
        ("caf\u00e9", "cafe\u0301", False),
        ("(a+)+*", "a" * 255, False),
        ("[a-z]*", "b", False),
        ("alice", "\u0430lice", False),
    ],
)
def test_patterns_are_plain_text(pattern: str, user_id: str, matches: bool) -> None:
    assert UserPattern.parse(pattern).matches(user_id) is matches


@pytest.mark.parametrize(
    "value", ["", "**", "*a", "a*b", "a*b*", "a/b", " a", "a ", "a\n*", "x" * 256, None, 5, ["*"]]
)
def test_a_pattern_that_would_surprise_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        UserPattern.parse(value)
    assert "users" in caught.value.fields


@given(st.text(alphabet=st.characters(exclude_characters="/*", categories=("L", "N", "P"))))
def test_a_pattern_is_written_as_it_is_read(text: str) -> None:
    pattern = UserPattern.parse(f"{text[:200]}*")
    assert UserPattern.parse(str(pattern)) == pattern
    assert pattern.matches(text[:200] + "bob")
