"""A foreign identity provider's keys: fetched over real HTTP, rotated, and spared our questions."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.accounts.conftest import StillClock
from tests.fakes import until
from webapp.accounts.tokens import Tokens
from webapp.accounts.tokens.fetching import fetch_body
from webapp.accounts.tokens.jwks import (
    MAX_AGE_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    STALE_SECONDS,
    KeySet,
    read_key_set,
)
from webapp.errors import ConfigurationError

OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
P384 = ec.generate_private_key(ec.SECP384R1())
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def public(private: Private, key_id: str | None, **more: Any) -> dict[str, Any]:
    if isinstance(private, rsa.RSAPrivateKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    named = {} if key_id is None else {"kid": key_id}
    return {**jwk, **named, "use": "sig", **more}


def signed(private: Private | str, key_id: str | None, alg: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    whole = {"sub": "alice", "aud": "switchboard", "iss": "https://idp.example/"}
    payload = {**whole, "iat": now, "exp": now + 60, **claims}
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode(payload, private, algorithm=alg, headers=headers)


class Provider:
    """An identity provider on loopback: what it answers can be changed, questions are counted."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [public(OLD, "old")]
        self.body: bytes | None = None
        self.status = 200
        self.asked = 0
        self.delay = 0.0
        self.gate: threading.Event | None = None
        self.headers: dict[str, str] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                time.sleep(provider.delay)
                if provider.gate is not None:
                    provider.gate.wait(10)
                body = provider.body
                if body is None:
                    body = json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in provider.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.stop()


@pytest.fixture
def tokens(provider: Provider, clock: StillClock) -> Tokens:
    key_set = KeySet(provider.url, clock=clock)
    return Tokens(audience="switchboard", issuer="https://idp.example/", key_set=key_set)


def test_a_foreign_token_is_taken_and_the_set_is_fetched_once(
    tokens: Tokens, provider: Provider
) -> None:
    for _ in range(5):
        found = tokens.verify(signed(OLD, "old"))
        assert found is not None
        assert found.user_id == "alice"
        assert found.role == "chat"
    assert provider.asked == 1


def test_an_elliptic_key_is_taken_too(tokens: Tokens, provider: Provider) -> None:
    provider.keys = [public(CURVE, "curve"), public(OLD, "old")]
    assert tokens.verify(signed(CURVE, "curve", "ES256")) is not None


def test_a_token_without_a_key_id_gets_the_only_key_there_is(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    assert tokens.verify(signed(OLD, None)) is not None
    provider.keys.append(public(NEW, "new"))
    clock.forward(MAX_AGE_SECONDS)
    assert tokens.verify(signed(OLD, None)) is None


def test_a_new_key_is_found_and_a_rotated_out_one_is_refused(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    provider.keys = [public(NEW, "new")]
    clock.forward(RETRY_SECONDS)
    assert tokens.verify(signed(NEW, "new")) is not None
    assert tokens.verify(signed(OLD, "old")) is None


def test_invented_key_ids_do_not_make_us_hammer_the_provider(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    for number in range(200):
        assert tokens.verify(signed(NEW, f"invented-{number}")) is None
    assert provider.asked == 1
    clock.forward(RETRY_SECONDS)
    for number in range(200):
        assert tokens.verify(signed(NEW, f"invented-{number}")) is None
    assert provider.asked == 2
    assert tokens.verify(signed(OLD, "old")) is not None


@pytest.mark.parametrize(
    "fault",
    [
        lambda provider: setattr(provider, "status", 503),
        lambda provider: setattr(provider, "status", 302),
        lambda provider: setattr(provider, "body", b"<html>"),
        lambda provider: setattr(provider, "body", b"[" * 100_000),
        lambda provider: setattr(provider, "body", b"[1]"),
        lambda provider: setattr(provider, "body", b'{"keys": {"a": 1}}'),
        lambda provider: setattr(provider, "body", b"\xff\xfe"),
        lambda provider: setattr(provider, "body", b" " * 2_000_000),
    ],
)
def test_the_last_good_set_stays_while_the_provider_is_ill(
    tokens: Tokens, provider: Provider, clock: StillClock, fault: Callable[[Provider], None]
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    fault(provider)
    clock.forward(MAX_AGE_SECONDS)
    for _ in range(50):
        assert tokens.verify(signed(OLD, "old")) is not None
    assert provider.asked == 2
    clock.forward(STALE_SECONDS)
    assert tokens.verify(signed(OLD, "old")) is None, "it is not believed for ever"


def test_a_withdrawn_key_stops_within_the_time_that_is_promised(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    provider.keys = [public(OLD, "old"), public(NEW, "new")]
    assert tokens.verify(signed(OLD, "old")) is not None
    provider.keys = [public(NEW, "new")]
    clock.forward(MAX_AGE_SECONDS)
    assert tokens.verify(signed(OLD, "old")) is None
    assert tokens.verify(signed(NEW, "new")) is not None


@pytest.mark.parametrize("left", [[], [{"kty": "oct", "kid": "old", "k": "AAAA"}]])
def test_the_only_key_can_be_withdrawn_too(
    tokens: Tokens, provider: Provider, clock: StillClock, left: list[dict[str, Any]]
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    provider.keys = left
    clock.forward(MAX_AGE_SECONDS)
    assert tokens.verify(signed(OLD, "old")) is None


def test_a_set_in_use_is_renewed_behind_its_readers_back(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    provider.keys, provider.delay = [public(NEW, "new")], 0.1
    clock.forward(REFRESH_SECONDS)
    assert tokens.verify(signed(OLD, "old")) is not None, "nobody waits for it"
    until(lambda: tokens.verify(signed(OLD, "old")) is None)
    assert provider.asked == 2


def test_a_hanging_provider_holds_nobody_up_who_shows_a_known_key(
    tokens: Tokens, provider: Provider, clock: StillClock
) -> None:
    assert tokens.verify(signed(OLD, "old")) is not None
    provider.status = 503
    clock.forward(MAX_AGE_SECONDS)
    assert tokens.verify(signed(OLD, "old")) is not None
    gate = provider.gate = threading.Event()
    clock.forward(RETRY_SECONDS)
    for _ in range(20):
        assert tokens.verify(signed(OLD, "old")) is not None
    gate.set()


def drip(connection: socket.socket, stop: threading.Event, head: bytes) -> None:
    connection.recv(65536)
    connection.sendall(head)
    while not stop.wait(0.02):
        try:
            connection.sendall(b"x")
        except OSError:
            return


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n",
    ],
)
def test_a_dripped_answer_is_over_at_the_deadline(head: bytes) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            with server.accept()[0] as connection:
                drip(connection, stop, head)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises((OSError, ValueError)):
            fetch_body(f"http://127.0.0.1:{port}/", seconds=0.3)
        stop.set()
        thread.join()


def test_an_answer_is_not_unpacked(provider: Provider) -> None:
    provider.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(ValueError, match="compressed"):
        fetch_body(provider.url)


def test_a_provider_that_was_never_there_makes_nobody_known(
    clock: StillClock,
) -> None:
    provider = Provider()
    provider.stop()
    key_set = KeySet(provider.url, clock=clock)
    tokens = Tokens(audience="switchboard", issuer="https://idp.example/", key_set=key_set)
    assert tokens.verify(signed(OLD, "old")) is None


def test_fifty_first_requests_at_once_ask_once_and_all_are_let_in(
    tokens: Tokens, provider: Provider
) -> None:
    provider.delay = 0.2
    token = signed(OLD, "old")
    let_in: list[bool] = []
    threads = [
        threading.Thread(target=lambda: let_in.append(tokens.verify(token) is not None))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert let_in == [True] * 50
    assert provider.asked == 1


def test_keys_confused_are_refused(tokens: Tokens, provider: Provider) -> None:
    provider.keys = [
        public(OLD, "old"),
        public(CURVE, "curve"),
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMw"},
    ]
    pem = OLD.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret = "secret-secret-secret-secret-123"
    good = signed(OLD, "old")
    header = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"old"}').decode()
    text = f"{header}.{good.split('.')[1]}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(text.encode(), pem)
    confused = f"{text}.{jwt.utils.base64url_encode(mac).decode()}"
    assert tokens.verify(confused) is None
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert tokens.verify(signed(secret, "shared", "HS256")) is None
    assert tokens.verify(signed(NEW, "old")) is None
    assert tokens.verify(signed(OLD, "curve")) is None
    assert tokens.verify(signed(CURVE, "old", "ES256")) is None
    assert tokens.verify(signed(OLD, "old", "PS256")) is None
    assert tokens.verify(signed(OLD, "old", "RS512")) is None
    assert tokens.verify(good) is not None


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "elsewhere"},
        {"iss": "https://evil.example/"},
        {"iss": "switchboard"},
        {"exp": 1},
        {"iat": 4_000_000_000, "exp": 4_000_000_060},
        {"nbf": 4_000_000_000},
        {"sub": ""},
        {"sub": "a/b"},
    ],
)
def test_a_foreign_token_with_bad_claims_is_nobody(tokens: Tokens, claims: dict[str, Any]) -> None:
    assert tokens.verify(signed(OLD, "old", **claims)) is None


def test_a_foreign_token_cannot_name_the_key_that_signed_it(tokens: Tokens) -> None:
    found = tokens.verify(signed(OLD, "old", sb_key="abc"))
    assert found is not None
    assert found.name == "https://idp.example/"


def test_keys_that_are_weak_private_or_for_something_else_are_left_out() -> None:
    members: list[Any] = [
        public(OLD, "old"),
        public(WEAK, "weak"),
        public(P384, "p384"),
        public(NEW, "encrypts", use="enc"),
        public(NEW, "other-algorithm", alg="RS512"),
        {**public(NEW, "private"), "d": "AQAB"},
        {**public(NEW, "broken"), "n": "!!"},
        {**public(NEW, "x"), "kid": 5},
        {"kty": "oct", "kid": "shared", "k": "AAAA"},
        {"kty": "RSA", "kid": "nothing"},
        None,
        "text",
    ]
    found = read_key_set(json.dumps({"keys": members}).encode())
    assert set(found) == {"old"}


@pytest.mark.parametrize(
    "url", ["http://idp.example/jwks", "file:///etc/passwd", "ftp://x", "", "jwks.json"]
)
def test_keys_come_over_an_encrypted_line_only(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        KeySet(url)


def test_a_redirect_is_not_followed(provider: Provider) -> None:
    provider.status = 302
    with pytest.raises(ValueError, match="302"):
        fetch_body(provider.url)
