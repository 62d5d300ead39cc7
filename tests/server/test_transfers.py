"""Large imports and exports beside everybody else's turns."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.server.crowd import parsed
from tests.server.running import Server

MESSAGES = 20_000


def export_of(messages: int, server: Server) -> bytes:
    """What an export of a tenant with so many messages looks like."""
    server.chat("pattern", "echo it")
    lines = [
        json.loads(line)
        for line in server.request("GET", "/api/tenants/pattern/export").body.splitlines()
    ]
    head, end = lines[0], {**lines[-1], "messages": messages}
    kept = [line for line in lines[1:-1] if line["type"] in ("tenant", "session")]
    (first, *_) = [line for line in lines if line["type"] == "message"]
    end |= {name: 0 for name in ("requests", "usages", "usage") if name in end}
    many = [{**first, "id": f"msg-{number}", "role": "user"} for number in range(messages)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in [head, *kept, *many, end])


def test_turns_are_answered_during_a_large_import_and_export(server: Server) -> None:
    body = export_of(MESSAGES, server)
    head = (
        "POST /api/tenants/imported/import HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    half = len(body) // 2
    with server.connect(60) as connection, ThreadPoolExecutor(1) as pool:
        connection.sendall(head.encode() + body[:half])
        assert server.chat("other", "echo meanwhile").status == 200
        done = threading.Event()
        rest = pool.submit(send_and_read, connection, body[half:], done)
        answered = 0
        while not done.is_set():
            assert server.chat("other", "echo meanwhile").status == 200
            answered += 1
        answer = parsed(rest.result(60))
        assert answer is not None
        assert answer.status == 200, answer.body
        assert answered > 0
    exported = server.request("GET", "/api/tenants/imported/export").body.splitlines()
    kept = json.loads(exported[-1])["messages"]
    assert kept == sum(json.loads(line)["type"] == "message" for line in exported)
    server.request("DELETE", "/api/tenants/imported")


def send_and_read(connection: socket.socket, rest: bytes, done: threading.Event) -> bytes:
    try:
        connection.sendall(rest)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
        return received
    finally:
        done.set()


def test_an_import_that_breaks_off_stores_nothing(server: Server) -> None:
    body = export_of(1000, server)
    head = (
        "POST /api/tenants/broken/import HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with server.connect() as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert server.request("GET", "/api/tenants/broken").status == 404
