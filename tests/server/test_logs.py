"""No word of a user reaches the log, at any level, in any format, on any way through a turn."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from tests.fakes import until
from tests.server.running import Server, running
from tests.upstream import Upstream

ID, SAID = "PLANTEDUSER", "PLANTEDWORD"
WAYS = ["echo", "fail", "cut", "rubbish", "empty", "tool"]


def talk(server: Server) -> None:
    """Plants words in ids, messages, replies, sessions, keys and paths, on good and bad ways."""
    for way in WAYS:
        for streamed in (False, True):
            server.chat(ID, f"{way} {SAID}", stream=streamed, session_id=SAID)
    key = {"Idempotency-Key": SAID}
    body = {"user_id": ID, "message": f"echo {SAID}"}
    for message in (f"echo {SAID}", f"echo other {SAID}"):
        server.request("POST", "/chat", {**body, "message": message}, key)
    server.chat(ID, f"{SAID} " * 10_000)
    server.chat(ID + "/", f"echo {SAID}")
    server.request("POST", "/chat", {**body, SAID: SAID})
    server.request("POST", "/chat", [SAID])
    for path in (ID, f"{ID}/messages", f"{ID}/metrics", f"{ID}/nothing", f"%00{ID}"):
        server.request("GET", f"/api/tenants/{path}?{SAID}={SAID}")
    server.request("GET", f"/api/tenants?search={ID}")
    server.request("GET", f"/{SAID}", headers={"Authorization": f"Bearer {SAID}"})
    server.request("GET", "/healthz", headers={"Cookie": SAID, "X-Request-Id": f"{SAID} {SAID}"})
    server.request("DELETE", f"/api/tenants/{ID}/messages")
    with server.connect() as connection:
        connection.sendall(f"GET /{SAID}\r\n\r\n".encode())
        connection.recv(1000)
    last = f"req-{secrets.token_hex(8)}"
    assert server.request("GET", "/readyz", headers={"X-Request-Id": last}).status == 200
    until(lambda: last in server.printed)  # a line is written after its answer


def test_debug_lines_for_a_terminal_hold_no_word_of_a_user(server: Server) -> None:
    talk(server)
    lines = [line for line in server.printed.splitlines() if "route=/chat" in line]
    assert len(lines) > 2 * len(WAYS)
    assert ID not in server.printed
    assert SAID not in server.printed
    assert "PROVIDERWORDS" not in server.printed


def test_json_lines_hold_no_word_of_a_user_and_one_name_for_each(hasty: Server) -> None:
    talk(hasty)
    assert ID not in hasty.printed
    assert SAID not in hasty.printed
    assert "PROVIDERWORDS" not in hasty.printed
    entries = [json.loads(line) for line in hasty.printed.splitlines() if line.startswith("{")]
    requests = [entry for entry in entries if entry["event"] == "request"]
    assert {entry["route"] for entry in requests} >= {"/chat", "/readyz", "unmatched"}
    known = {entry["user"] for entry in requests if "user" in entry and entry["status"] == 502}
    assert len(known) >= 1
    assert all(len(name) == 16 for name in known)


def test_user_ids_are_in_the_log_when_that_is_asked_for(
    tmp_path: Path, model_server: Upstream
) -> None:
    with running(tmp_path, model_server.base_url, LOG_USER_IDS="true") as server:
        server.chat(ID, f"echo {SAID}")
        until(lambda: f"user={ID}" in server.printed)
        assert SAID not in server.printed
