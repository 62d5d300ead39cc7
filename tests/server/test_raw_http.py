"""Bytes that are not quite HTTP: never a 500, never a trace, and nobody else has to wait."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.server.crowd import parsed
from tests.server.running import Server, chat_request
from tests.server.stored import memory

HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
LIMIT = 1024 * 1024  # MAX_BODY_BYTES, as it is when nobody sets it


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /chat HTTP/1.1\r\n" + JSON + headers + b"\r\n" + body


def get(path: bytes, headers: bytes = HOST, version: bytes = b"1.1") -> bytes:
    return b"GET " + path + b" HTTP/" + version + b"\r\n" + headers + b"\r\n"


def chunked(*chunks: bytes, user: str = "") -> bytes:
    content = chunks or (turn(user),)
    return post(
        b"Transfer-Encoding: chunked\r\n",
        b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in content) + b"0\r\n\r\n",
    )


def turn(user: str) -> bytes:
    return json.dumps({"user_id": user, "message": f"echo {user}"}).encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back on a bare connection, and whether it was closed after that."""

    statuses: list[int]
    body: bytes
    closed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(server: Server, data: bytes, *, end: bool = False, patience: float = 0.3) -> Reply:
    """Sends the bytes and reads until the server closes, or says nothing more for a while."""
    received, closed = b"", False
    with server.connect() as connection:
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it has refused before it read everything
        try:
            while chunk := connection.recv(65536):
                received += chunk
                connection.settimeout(patience)
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]
    return Reply(statuses, received.rpartition(b"\r\n\r\n")[2], closed)


MALFORMED = {
    "binary": b"\x00\xff\xfe garbage\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "version 9.9": get(b"/healthz", version=b"9.9"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw bytes in the path": get(b"/api/tenants/\xff\xfe"),
    "only line feeds": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "white space in a header's name": get(b"/healthz", HOST + b"X Y: 1\r\n"),
    "a folded header": get(b"/healthz", HOST + b"X: 1\r\n  2\r\n"),
    "a control character in a header": get(b"/healthz", HOST + b"Cookie: a=\x01\r\n"),
    "two hosts": get(b"/healthz", HOST + b"Host: elsewhere\r\n"),
    "a negative length": post(b"Content-Length: -5\r\n", turn("nobody")),
    "a length of words": post(b"Content-Length: abc\r\n", turn("nobody")),
    "two lengths": post(b"Content-Length: 34\r\nContent-Length: 5\r\n", turn("nobody")),
    "length and chunks": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a proxy's greeting": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get(b"/healthz"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_http_gets_the_error_object_and_a_closed_connection(
    server: Server, data: bytes
) -> None:
    reply = send(server, data)
    assert reply.statuses == [400]
    assert reply.json["code"] == "bad_request"
    assert set(reply.json) == {"error", "code", "request_id"}
    assert reply.closed


def test_long_lines_and_headers_are_refused_by_name(server: Server) -> None:
    line = send(server, get(b"/" + b"a" * 20_000))
    assert (line.statuses, line.json["code"]) == ([414], "uri_too_long")
    many = b"".join(b"X%d: 1\r\n" % number for number in range(500))
    for headers in (b"X: " + b"a" * 100_000 + b"\r\n", many):
        reply = send(server, get(b"/healthz", HOST + headers))
        assert (reply.statuses, reply.json["code"]) == ([431], "headers_too_large")
    long = send(server, get(b"/api/tenants/" + b"a" * 7900))
    assert (long.statuses, long.json["code"]) == ([400], "invalid_input")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/api/tenants/%00", 400),
        (b"/api/tenants/%0d%0aX:1/messages", 400),
        (b"/api/tenants/a%2Fb", 404),
        (b"/api/tenants/%2e%2e/messages", 400),
        (b"/api/tenants/../../etc/passwd", 404),
        (b"/api/tenants/%zz", 404),
        (b"/api/tenants/%ff%fe", 400),
        (b"/static/../webapp/settings.py", 404),
        (b"/static/%2e%2e/webapp/settings.py", 404),
        (b"/static/..%2fwebapp%2fsettings.py", 404),
        (b"/api/tenants?limit=%00&cursor=%ff", 400),
        (b"/api/tenants?cursor=%ff%00", 400),
        (b"http://localhost/healthz", 200),
    ],
)
def test_strange_paths_are_answered_like_any_other(
    server: Server, path: bytes, status: int
) -> None:
    reply = send(server, get(path), patience=0.15)
    assert reply.statuses == [status]
    assert b"SWITCHBOARD_" not in reply.body


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/chat", "/healthz"])
def test_other_methods_get_an_answer(server: Server, method: str, path: str) -> None:
    answer = server.request(method, path)
    wanted = {("HEAD", "/healthz"): 200, ("OPTIONS", "/chat"): 200, ("OPTIONS", "/healthz"): 200}
    assert answer.status == wanted.get((method, path), 405)
    if answer.status == 405:
        assert answer.headers["Allow"]


def test_old_clients_are_served(server: Server) -> None:
    old = send(server, get(b"/healthz", HOST, b"1.0"))
    assert (old.statuses, old.closed) == ([200], True)
    kept = send(server, get(b"/healthz", HOST + b"Connection: keep-alive\r\n", b"1.0"))
    assert (kept.statuses, kept.closed) == ([200], False)


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    data = get(b"/healthz") + chat_request("piped", "echo one") + get(b"/nowhere")
    data += chat_request("piped", "echo two") + get(b"/healthz", HOST + b"Connection: close\r\n")
    reply = send(server, data, patience=5)
    assert reply.statuses == [200, 200, 404, 200, 200]
    said = [content for role, content in memory(server.database, "piped") if role == "user"]
    assert said == ["echo one", "echo two"]


def test_a_body_in_chunks_is_read(server: Server) -> None:
    body = turn("chunky")
    reply = send(server, chunked(body[:7], body[7:8], body[8:]))
    assert (reply.statuses, reply.json["reply"]) == ([200], "You said: echo chunky")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"zz\r\nxx\r\n0\r\n\r\n", 400),
        (b"-1\r\nxx\r\n0\r\n\r\n", 400),
        (b"2\r\nxxYY0\r\n\r\n", 400),
        (b"22\r\n{", 400),
        (b"", 400),
        (b"f" * 40 + b"\r\n{", 400),
        (b"\r\n\r\n", 400),
        (b"2;a=\x01\r\n{}\r\n0\r\n\r\n", 400),
    ],
)
def test_malformed_chunks_are_refused_and_end_the_connection(
    server: Server, body: bytes, status: int
) -> None:
    follower = get(b"/healthz") if body.endswith(b"0\r\n\r\n") else b""
    reply = send(server, post(b"Transfer-Encoding: chunked\r\n", body) + follower, end=True)
    assert reply.statuses == [status]
    assert reply.json["code"] in ("bad_request", "invalid_json")
    assert reply.closed


def test_the_limit_of_a_body_holds_without_a_length(server: Server) -> None:
    exact = turn("large") + b" " * (LIMIT - len(turn("large")))
    assert send(
        server, chunked(*(exact[i : i + 65_536] for i in range(0, LIMIT, 65_536)))
    ).statuses == [200]
    reply = send(server, chunked(exact, b" "))
    assert (reply.statuses, reply.json["code"]) == ([413], "body_too_large")
    declared = send(server, post(b"Content-Length: %d\r\n" % (LIMIT + 1), exact + b" "))
    assert (declared.statuses, declared.json["code"]) == ([413], "body_too_large")
    unsent = send(server, post(b"Content-Length: 99999999999999999999\r\n"))
    assert unsent.statuses == [413]


def test_a_length_that_is_wrong_harms_only_its_own_request(server: Server) -> None:
    short = send(server, post(b"Content-Length: 10\r\n", turn("wrong-length")))
    assert short.statuses[0] == 400
    cut = send(server, post(b"Content-Length: 1000\r\n", turn("wrong-length")), end=True)
    assert cut.statuses in ([400], [499])
    assert send(server, post(b"", turn("wrong-length"))).statuses[0] == 400
    assert memory(server.database, "wrong-length") == []


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server: Server) -> None:
    body = turn("expecting")
    with server.connect() as connection:
        connection.sendall(post(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(body)
        received, answer = b"", None
        while answer is None and (chunk := connection.recv(65536)):
            received += chunk  # head and body may come apart
            answer = parsed(received)
    assert answer is not None
    assert answer.json["reply"] == "You said: echo expecting"
    assert send(server, post(b"Expect: a miracle\r\nContent-Length: 2\r\n", b"{}")).statuses == [
        417
    ]


def test_slow_clients_hold_nobody_up(server: Server) -> None:
    slow = []
    try:
        for number in range(300):
            connection = server.connect()
            slow.append(connection)
            connection.sendall(
                [
                    b"GET /heal",
                    post(b"Content-Length: 5000\r\n", b'{"user_id": '),
                    post(b"Transfer-Encoding: chunked\r\n", b"50\r\n{"),
                ][number % 3]
            )
        began = time.monotonic()
        assert server.chat("quick", "echo hello").status == 200
        assert server.request("GET", "/readyz").status == 200
        assert time.monotonic() - began < 2
    finally:
        for connection in slow:
            connection.close()
    assert server.chat("quick", "echo again").status == 200


def test_no_trace_of_all_this_is_in_the_log(server: Server) -> None:
    for data in MALFORMED.values():
        send(server, data.replace(b"/healthz", b"/PLANTEDPATH"))
    send(server, post(b"Transfer-Encoding: chunked\r\n", b"zz\r\nPLANTEDBODY"))
    assert "malformed_request" in server.printed
    for word in ("Traceback", "PLANTED", "Logging error", "unhandled_error"):
        assert word not in server.printed
