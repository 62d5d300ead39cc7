"""Tokens for one user: issued within the issuer's rights, and every forgery refused alike."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.accounts.conftest import StillClock
from webapp.accounts.audit import Actor, AuditLog
from webapp.accounts.keys import Keys, Standing
from webapp.accounts.keys.key import NewKey
from webapp.accounts.principal import Principal
from webapp.accounts.roles import Permission, check_role
from webapp.accounts.tokens.tokens import AHEAD_SECONDS, LEEWAY_SECONDS, Tokens
from webapp.accounts.user_pattern import UserPattern
from webapp.errors import ConfigurationError, Conflict, Forbidden, InvalidInput
from webapp.storage import Database
from webapp.tenants.user_ids.forms import PlainUserIds

SECRET = "correct horse battery staple 0123456789"


def key(role: str = "chat", users: str = "*") -> Principal:
    return Principal("key", "abc", check_role(role), UserPattern.parse(users))


TOKENS = Tokens(
    audience="switchboard",
    issuer="switchboard",
    secret=SECRET,
    standing_of=lambda _key_id: Standing(key(), None),
)


def signed(
    secret: str = SECRET, alg: str = "HS256", headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """A token that would be good, but for what is changed; a claim of None is left out."""
    now = int(time.time())
    whole: dict[str, Any] = {
        "sub": "alice",
        "aud": "switchboard",
        "iss": "switchboard",
        "iat": now,
        "exp": now + 3600,
    } | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=alg, headers=headers)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hand_made(header: object, payload: object, secret: str = SECRET) -> str:
    """Signed correctly, whatever is in it."""
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, payload)
    ]
    text = ".".join(parts)
    return f"{text}.{b64(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


def test_an_issued_token_speaks_for_its_user_alone() -> None:
    issued = TOKENS.issue("alice", by=key(), ttl_seconds=60)
    found = TOKENS.verify(issued.token)
    assert found is not None
    assert (found.kind, found.role, found.user_id) == ("token", "chat", "alice")
    assert not found.may_speak_for("bob")
    assert not found.may(Permission.ISSUE_TOKENS)
    assert abs(issued.expires_at / 1000 - time.time() - 60) < 5
    assert issued.token not in repr(issued)


def test_a_token_that_a_backend_signs_with_the_shared_secret_is_taken() -> None:
    found = TOKENS.verify(signed())
    assert found is not None
    assert found.user_id == "alice"


@pytest.mark.parametrize("user_id", ["*", "org-*", "名前", "a b", "\U0001f600", "x" * 255])
def test_any_user_id_can_be_the_subject(user_id: str) -> None:
    found = TOKENS.verify(TOKENS.issue(user_id, by=key()).token)
    assert found is not None
    assert found.user_id == user_id
    assert not found.users.is_all


def test_a_key_issues_tokens_within_its_pattern_only() -> None:
    acme = key(users="org-acme-*")
    assert TOKENS.issue("org-acme-bob", by=acme).user_id == "org-acme-bob"
    with pytest.raises(Forbidden):
        TOKENS.issue("mallory", by=acme)


def test_a_token_and_a_viewer_issue_no_tokens() -> None:
    token = Principal("token", "abc", "chat", UserPattern.only("alice"))
    for principal in (token, key("viewer")):
        with pytest.raises(Forbidden):
            TOKENS.issue("alice", by=principal)


@pytest.mark.parametrize("ttl", [0, -1, 86_401, 10**30, True])
def test_a_token_lasts_between_a_second_and_a_day(ttl: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        TOKENS.issue("alice", by=key(), ttl_seconds=ttl)
    assert "ttl_seconds" in caught.value.fields


@pytest.mark.parametrize("user_id", ["", "a/b", " a", None, 7, "x" * 256])
def test_a_token_is_not_issued_for_what_is_no_user_id(user_id: object) -> None:
    with pytest.raises(InvalidInput):
        TOKENS.issue(user_id, by=key())


def test_without_a_secret_tokens_are_neither_issued_nor_taken() -> None:
    bare = Tokens(audience="switchboard", issuer="switchboard")
    with pytest.raises(Conflict, match="SWITCHBOARD_JWT_SECRET") as caught:
        bare.issue("alice", by=key())
    assert caught.value.code == "tokens_not_configured"
    for token in (signed(), hand_made({"alg": "HS256"}, {"sub": "alice"}, secret="")):
        assert bare.verify(token) is None


def test_a_short_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="at least 32"):
        Tokens(audience="a", issuer="i", secret="x" * 31)


def forged() -> dict[str, str]:
    good = signed()
    header, payload, signature = good.split(".")
    now = int(time.time())
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    bob = b64(json.dumps({**claims, "sub": "bob"}).encode())
    ours = {"alg": "HS256", "typ": "JWT"}
    none, titled_none = (b64(json.dumps({"alg": alg}).encode()) for alg in ("none", "None"))
    return {
        "none": f"{none}.{payload}.",
        "None": f"{titled_none}.{payload}.{signature}",
        "no alg": hand_made({"typ": "JWT"}, claims),
        "empty alg": hand_made({"alg": ""}, claims),
        "null alg": hand_made({"alg": None}, claims),
        "list alg": hand_made({"alg": ["HS256"]}, claims),
        "case of alg": hand_made({"alg": "hs256"}, claims),
        "HS512": signed(secret=SECRET * 2, alg="HS512"),
        "HS384": signed(secret=SECRET * 2, alg="HS384"),
        "another secret": signed(secret=SECRET + "!"),
        "another user": f"{header}.{bob}.{signature}",
        "no signature": f"{header}.{payload}.",
        "no third part": f"{header}.{payload}",
        "cut": good[:-1],
        "longer": good + "A",
        "padded": good + "=",
        "four parts": good + ".x",
        "space": good + " ",
        "newline": good + "\n",
        "another audience": signed(aud="elsewhere"),
        "no audience": signed(aud=None),
        "audience list of others": signed(aud=["a", "b"]),
        "audience prefix": signed(aud="switchboard.evil.example"),
        "audience number": hand_made(ours, {**claims, "aud": 5}),
        "another issuer": signed(iss="mallory"),
        "no issuer": signed(iss=None),
        "issuer list": hand_made(ours, {**claims, "iss": ["switchboard"]}),
        "expired": signed(exp=now - LEEWAY_SECONDS - 1),
        "long expired": signed(exp=1),
        "no expiry": signed(exp=None),
        "expiry text": hand_made(ours, {**claims, "exp": "tomorrow"}),
        "expiry object": hand_made(ours, {**claims, "exp": {}}),
        "expiry null": hand_made(ours, {**claims, "exp": None}),
        "expiry infinite": hand_made(
            ours, b'{"sub":"alice","aud":"switchboard","iss":"switchboard","exp":1e999}'
        ),
        "expiry not a number": hand_made(
            ours, b'{"sub":"alice","aud":"switchboard","iss":"switchboard","exp":NaN}'
        ),
        "not yet text": hand_made(ours, {**claims, "nbf": "0"}),
        "issued at text": hand_made(ours, {**claims, "iat": "0"}),
        "issued at true": hand_made(ours, {**claims, "iat": True}),
        "expiry text of digits": hand_made(ours, {**claims, "exp": str(now + 60)}),
        "expiry true": hand_made(ours, {**claims, "exp": True}),
        "expiry of 400 digits": hand_made(ours, {**claims, "exp": 10**400}),
        "not yet": signed(nbf=now + 1800),
        "from the future": signed(iat=now + 1800),
        "no subject": signed(sub=None),
        "empty subject": signed(sub=""),
        "subject number": hand_made(ours, {**claims, "sub": 5}),
        "subject list": hand_made(ours, {**claims, "sub": ["alice"]}),
        "subject object": hand_made(ours, {**claims, "sub": {"a": 1}}),
        "subject too long": signed(sub="x" * 256),
        "subject with a slash": signed(sub="a/../b"),
        "subject with a control character": signed(sub="alice\x00"),
        "subject with white space": signed(sub=" alice"),
        "unknown critical header": signed(headers={"crit": ["exp-policy"], "exp-policy": 1}),
        "detached payload": hand_made({"alg": "HS256", "b64": False, "crit": ["b64"]}, b""),
        "payload list": hand_made(ours, [claims]),
        "payload text": hand_made(ours, b"not json"),
        "payload deep": hand_made(ours, b"[" * 2500 + b"]" * 2500),
        "header list": hand_made([ours], claims),
        "header deep": hand_made(b"[" * 4000, claims),
        "header kid number": hand_made({**ours, "kid": 5}, claims),
        "own key in the header": hand_made(
            {**ours, "jwk": {"kty": "oct", "k": b64(b"x" * 32)}}, claims, secret="x" * 32
        ),
        "key file by kid": hand_made({**ours, "kid": "../../dev/null"}, claims, secret=""),
        "empty": "",
        "dots": "..",
        "not base64": "!!!.???.***",
        "not latin": "а.б.в",
        "surrogate": "\udcff.\udcff.\udcff",
        "huge": f"{header}.{'A' * 1_000_000}.{signature}",
    }


FORGED = forged()


@pytest.mark.parametrize("kind", list(FORGED))
def test_a_forged_token_is_nobody(kind: str) -> None:
    assert TOKENS.verify(FORGED[kind]) is None


def test_the_forgeries_are_made_of_a_token_that_is_good() -> None:
    good = signed()
    assert TOKENS.verify(good) is not None
    _, payload, _ = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert TOKENS.verify(hand_made({"alg": "HS256", "typ": "JWT"}, claims)) is not None
    now = int(time.time())
    assert TOKENS.verify(signed(exp=now - LEEWAY_SECONDS + 5)) is not None
    assert TOKENS.verify(signed(iat=now + AHEAD_SECONDS - 5)) is not None
    assert TOKENS.verify(signed(nbf=now + AHEAD_SECONDS - 5)) is not None
    assert TOKENS.verify(signed(aud=["a", "switchboard"])) is not None


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_without_a_foreign_provider_only_our_own_algorithm_counts(alg: str) -> None:
    claims = {"sub": "alice", "aud": "switchboard", "iss": "switchboard", "exp": 4_000_000_000}
    assert TOKENS.verify(hand_made({"alg": alg}, claims)) is None


def test_a_public_key_is_no_secret() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = {"sub": "alice", "aud": "switchboard", "iss": "switchboard", "exp": 4_000_000_000}
    assert TOKENS.verify(hand_made({"alg": "HS256"}, claims, secret=pem.decode())) is None


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_makes_it_fail(text: str) -> None:
    assert TOKENS.verify(text) is None


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_signed_rubbish_makes_it_fail(header: bytes, payload: bytes) -> None:
    assert TOKENS.verify(hand_made(header, payload)) is None
    assert TOKENS.verify(hand_made({"alg": "HS256"}, payload)) is None


@pytest.fixture
def keys(database: Database, user_ids: PlainUserIds, log: AuditLog, clock: StillClock) -> Keys:
    return Keys(database, user_ids, audit=log, clock=clock)


@pytest.fixture
def tokens(keys: Keys, clock: StillClock) -> Tokens:
    return Tokens(
        audience="switchboard",
        issuer="switchboard",
        secret=SECRET,
        standing_of=keys.standing,
        clock=clock,
    )


def holder_of(keys: Keys, made: NewKey) -> Principal:
    holder = keys.verify(made.secret)
    assert holder is not None
    return holder


def test_a_revoked_key_takes_the_tokens_with_it_that_it_issued(
    keys: Keys, tokens: Tokens, alice: Actor
) -> None:
    made = keys.create("shop", role="chat", users="*", by=alice)
    token = tokens.issue("bob", by=holder_of(keys, made)).token
    local = tokens.issue("bob", by=Principal.local()).token
    assert tokens.verify(token) is not None
    keys.revoke(made.key.id, by=alice)
    assert tokens.verify(token) is None
    assert tokens.verify(local) is not None


def test_a_token_lasts_no_longer_than_its_key(
    keys: Keys, tokens: Tokens, alice: Actor, clock: StillClock
) -> None:
    made = keys.create("shop", role="chat", users="*", by=alice, expires_at=clock.ms + 60_000)
    issued = tokens.issue("bob", by=holder_of(keys, made), ttl_seconds=3600)
    assert (issued.expires_in, issued.expires_at) == (60, clock.ms + 60_000)
    clock.forward(59)
    assert tokens.verify(issued.token) is not None
    clock.forward(1)
    assert tokens.verify(issued.token) is None, "no leeway: the key itself is over"


def test_a_token_ends_with_the_overlap_of_its_rotated_key(
    keys: Keys, tokens: Tokens, alice: Actor, clock: StillClock
) -> None:
    made = keys.create("shop", role="chat", users="*", by=alice)
    token = tokens.issue("bob", by=holder_of(keys, made), ttl_seconds=86_400).token
    keys.rotate(made.key.id, by=alice, overlap_seconds=600)
    clock.forward(599)
    assert tokens.verify(token) is not None
    clock.forward(1)
    assert tokens.verify(token) is None


@pytest.mark.parametrize(
    "change", ["role = 'viewer'", "users = 'org-*'", "users = '=carol'", "id = 'another'"]
)
def test_a_token_may_do_no_more_than_its_key_may_now(
    database: Database, keys: Keys, tokens: Tokens, alice: Actor, change: str
) -> None:
    made = keys.create("shop", role="chat", users="*", by=alice)
    token = tokens.issue("bob", by=holder_of(keys, made)).token
    assert tokens.verify(token) is not None
    database.write(lambda connection: connection.execute(f"UPDATE api_keys SET {change}"))
    assert tokens.verify(token) is None


@pytest.mark.parametrize("back", [1, 30, 120, AHEAD_SECONDS])
def test_a_token_goes_on_working_when_the_clock_is_set_back(
    keys: Keys, tokens: Tokens, alice: Actor, clock: StillClock, back: int
) -> None:
    made = keys.create("shop", role="chat", users="*", by=alice)
    token = tokens.issue("bob", by=holder_of(keys, made)).token
    clock.forward(-back)
    assert tokens.verify(token) is not None
