"""The tool http_get: what it may read, what it reads, and how long; servers on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import self_signed
from webapp.agent import RunContext, Toolkit
from webapp.agent.executor import run_together
from webapp.agent.toolkits import fetching, http_get
from webapp.agent.toolkits.addresses import is_public
from webapp.agent.tools import by_name
from webapp.messages import ToolCall

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=latin-1\r\n\r\nGr\xfc\xdfe"
Serve = Callable[[socket.socket], None]


def get(kit: Toolkit, url: str) -> str:
    call = ToolCall("call-1", "http_get", json.dumps({"url": url}))
    return run_together(by_name([kit]), [call], RunContext(user_id="alice"))[0].content


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Starts a server that answers each connection alike, with TLS or not; gives its port."""
    sockets: list[socket.socket] = []

    def start(answer: bytes | Serve, tls: ssl.SSLContext | None = None) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def work() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    if tls is not None:
                        connection = tls.wrap_socket(connection, server_side=True)
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)

        threading.Thread(target=work, daemon=True).start()
        return int(listening.getsockname()[1])

    yield start
    for each in sockets:
        each.close()


asked: list[bytes] = []


def local(*hosts: str, **given: Any) -> Toolkit:
    """The tool for tests: what is public are these addresses."""
    return http_get(
        hosts or ("127.0.0.1", "localhost"), is_allowed_address="127.0.0.1".__eq__, **given
    )


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::a9fe:a9fe", "ff02::1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:db8::1", "fec0::1"),
        *("2001:0:4136:e378:8000:63bf:80ff:fffe", "not an address"),
    ],
)
def test_an_address_that_is_not_public_is_known_in_any_form(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f000001/"),
        *("http://017700000001/", "http://127.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"),
        *("http://169.254.169.254/latest/meta-data/", "http://[::ffff:a9fe:a9fe]/", "http://0/"),
        *("http://LOCALHOST./", "http://１２７.0.0.1/"),
    ],
)
def test_no_form_of_a_private_address_is_read_though_every_host_is_allowed(url: str) -> None:
    told = get(http_get(["*"]), url)
    assert "is not a public address" in told or "cannot be found" in told


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.org/", "Only addresses that begin with https:// or http://"),
        ("file:///etc/passwd", "Only addresses that begin with"),
        ("example.org", "Only addresses that begin with"),
        ("http://", "Only addresses that begin with"),
        ("http://example.org:99999/", "That is not a web address."),
        ("http://[::1/", "That is not a web address."),
        ("http://example.org@127.0.0.1/", "holds a user name"),
        ("http://example.org\\@127.0.0.1/", "a backslash"),
        ("http://exam\nple.org/", "a control character"),
        (
            "http://other.org/",
            "other.org is not allowed; allowed are example.org, .in.org.",
        ),
        ("http://example.org.evil.org/", "is not allowed"),
        ("http://win.org/", "is not allowed"),
        ("http://example.org/" + "x" * 2000, "longer than 2000"),
    ],
)
def test_what_may_not_be_asked_is_told_in_a_sentence(url: str, sentence: str) -> None:
    assert sentence in get(http_get(["Example.org", ".in.org"]), url)


def test_nothing_is_allowed_unless_hosts_are_named() -> None:
    told = get(http_get(), "https://example.org/")
    assert told == "Error: The host example.org is not allowed; no host is."


def test_text_is_read_in_its_own_charset(serve: Any) -> None:
    port = serve(PAGE)
    asked.clear()
    assert get(local(), f"http://127.0.0.1:{port}/ä?q=1 2".replace(" ", "%20")) == "Grüße"
    assert asked[0].startswith(b"GET /%C3%A4?q=1%202 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in asked[0]


def redirect(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


def test_redirects_are_followed_and_checked_each_anew(serve: Any) -> None:
    page = serve(PAGE)
    assert get(local(), f"http://127.0.0.1:{serve(redirect(f'//localhost:{page}/'))}/") == "Grüße"
    for place, sentence in (
        ("http://169.254.169.254/", "is not allowed"),
        ("http://127.0.0.2/", "127.0.0.2 is not a public address."),
        ("file:///etc/passwd", "Only addresses that begin with"),
    ):
        kit = local("127.0.0.1", "127.0.0.2")
        assert sentence in get(kit, f"http://127.0.0.1:{serve(redirect(place))}/")
    assert "more than 3 redirects" in get(local(), f"http://127.0.0.1:{serve(redirect('/again'))}/")


def test_the_connection_goes_to_the_address_that_was_checked(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve(PAGE)
    answers = [["127.0.0.1"], ["127.0.0.9"], ["127.0.0.9"]]

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, 0, 0, "", (each, port)) for each in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert get(local("rebinding.org"), f"http://rebinding.org:{port}/") == "Grüße"
    assert len(answers) == 2
    assert "not a public address" in get(local("rebinding.org"), f"http://rebinding.org:{port}/")
    answers.append(["127.0.0.1", "10.0.0.1"])
    answers.reverse()
    assert "not a public address" in get(local("rebinding.org"), f"http://rebinding.org:{port}/")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered with the status 404."),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nx", "image/png, which is not text."),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/a\r\nContent-Encoding: gzip\r\n\r\nx", "packed"),
        (b"rubbish\r\n\r\n", "could not be read."),
        (b"", "could not be read."),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nx",
            "could not be read.",
        ),
    ],
)
def test_what_is_no_text_is_told(serve: Any, answer: bytes, sentence: str) -> None:
    told = get(local(), f"http://127.0.0.1:{serve(answer)}/")
    assert told.startswith("Error: ")
    assert sentence in told


def test_a_large_page_is_cut(serve: Any) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"word " * 1000)

    told = get(local(max_bytes=5000), f"http://127.0.0.1:{serve(endless)}/")
    assert told.startswith("word word")
    assert told.endswith("[cut: only the first 5,000 bytes are here]")


def test_a_page_that_drips_is_left_in_time(serve: Any) -> None:
    left = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"H")
                threading.Event().wait(0.02)
        except OSError:
            left.set()

    told = get(local(timeout=0.3), f"http://127.0.0.1:{serve(drip)}/")
    assert "did not answer in time" in told
    assert left.wait(10)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context, which the tool trusts."""
    context, public = self_signed(tmp_path)
    trusted = ssl.create_default_context(cafile=public)
    monkeypatch.setattr(fetching, "_trusted", lambda: trusted)
    return context


def test_a_page_is_read_over_tls(serve: Any, tls: ssl.SSLContext) -> None:
    assert get(local(), f"https://127.0.0.1:{serve(PAGE, tls)}/") == "Grüße"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
RECORD = b"\x16\x03\x03\x40\x00"  # a handshake's record, whose 16 KiB never come


@pytest.mark.parametrize(
    ("begin", "secured"),
    [(HEAD + b"\r\n", True), (HEAD + b"X: ", True), (RECORD, False), (b"", False)],
    ids=["body", "head", "handshake that drips", "handshake that hangs"],
)
def test_a_tls_server_that_is_slow_is_left_in_time(
    serve: Any, tls: ssl.SSLContext, begin: bytes, secured: bool
) -> None:
    left = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(begin)
            while begin:
                connection.sendall(b"x")
                threading.Event().wait(0.02)
            connection.recv(1)
        except OSError:
            pass
        left.set()

    port = serve(drip, tls if secured else None)
    told = get(local(timeout=0.3), f"https://127.0.0.1:{port}/")
    assert told == "Error: 127.0.0.1 did not answer in time."
    assert left.wait(10)
