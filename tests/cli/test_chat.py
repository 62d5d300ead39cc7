"""`switchboard chat` in a real terminal, against servers on loopback that behave as they like."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.certificates import self_signed
from tests.cli.terminal import SWITCHBOARD, Terminal

LONG = "Every word of this answer stands whole on its line, however narrow the terminal may be."


@dataclass
class Seen:
    """What came to the server."""

    bodies: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(seen: Seen, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answers `slow` with a piece and then nothing, anything else whole; gives its URL."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.bodies.append(body)
            seen.keys.append(self.headers.get("Authorization"))
            if body.get("approvals") or body["message"] == "pay":
                return self._pay(body)
            if body["message"] == "refuse":
                return self._refuse()
            self.send_response(200)
            self.end_headers()
            if body["message"] == "slow":
                return self._stall()
            for piece in (LONG[:30], LONG[30:33], LONG[33:], "\x1b[2J\u202e"):
                self._event("delta", {"text": piece})
            reason = "length" if body["message"] == "cut" else "stop"
            self._event("done", {"finish_reason": reason})
            return None

        def _pay(self, body: dict[str, object]) -> None:
            self.send_response(200)
            self.end_headers()
            call = {"id": "call-1", "name": "pay\x1b[2J", "arguments": {"cents": 5}}
            waits = [] if body.get("approvals") else [call]
            self._event("delta", {"text": "paid" if body.get("approvals") else ""})
            self._event("done", {"finish_reason": "approval_required", "pending_calls": waits})

        def _refuse(self) -> None:
            answer = json.dumps({"error": "No \x1b[31mkey."}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _stall(self) -> None:
            self._event("delta", {"text": "Once upon "})
            try:
                while not ended.wait(0.05):
                    self.wfile.write(b": still here\n\n")
            except OSError:
                seen.hung_up.set()

        def _event(self, name: str, data: dict[str, object]) -> None:
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def piped(typed: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SWITCHBOARD, "chat", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **env},
    )


def test_ctrl_c_stops_the_answer_and_then_the_talk() -> None:
    seen = Seen()
    with serving(seen) as url, Terminal("chat", "alice", "--url", url, env={}) as terminal:
        terminal.expect("You> ")
        terminal.enter("slow\n")
        terminal.expect("Once upon")
        terminal.enter("\x03")
        terminal.expect("stopped")
        assert seen.hung_up.wait(10)
        terminal.expect("You> ")
        terminal.enter("\n")
        terminal.expect("You> ")
        terminal.enter("hello\n")
        terminal.expect("may be.")
        terminal.expect("You> ")
        assert terminal.end(typing="\x03") == 0
    assert [body["message"] for body in seen.bodies] == ["slow", "hello"]
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("last", ["/exit\n", "\x04"])
def test_the_talk_ends_at_the_prompt(last: str) -> None:
    with Terminal("chat", "alice", "--url", "http://127.0.0.1:9", env={}) as terminal:
        terminal.expect("You> ")
        assert terminal.end(typing=last) == 0


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_no_word_is_broken_and_nothing_steers_the_terminal(columns: int) -> None:
    with (
        serving(Seen()) as url,
        Terminal("chat", "alice", "--url", url, env={}, columns=columns) as terminal,
    ):
        terminal.expect("You> ")
        terminal.enter("hello\n")
        terminal.expect("be.")
        terminal.expect("You> ")
        answer = terminal.text.split("hello\n", 1)[1].split("You> ")[0]
    assert answer.split()[:-1] == LONG.split()[:-1]
    assert max(map(len, answer.splitlines())) <= columns
    assert "\u202e" not in terminal.text


def test_a_call_that_waits_for_approval_is_asked_about() -> None:
    seen = Seen()
    with serving(seen) as url, Terminal("chat", "alice", "--url", url, env={}) as terminal:
        for answer, goes_on in (("y\n", "paid"), ("\n", "paid"), ("\x03", "undecided")):
            terminal.expect("You> ")
            terminal.enter("pay\n")
            terminal.expect("[y/N]:")
            terminal.enter(answer)
            terminal.expect(goes_on)
        terminal.expect("You> ")
        assert terminal.end(typing="\x04") == 0
        assert '{"cents": 5}' in terminal.text
    decisions = [body["approvals"] for body in seen.bodies if "approvals" in body]
    assert decisions == [[{"call_id": "call-1", "approved": each}] for each in (True, False)]
    with serving(seen) as url:
        done = piped("pay\n", "alice", "--url", url)
    assert done.returncode == 0
    assert "waits for approval: pay" in done.stderr


def test_a_pipe_s_lines_are_messages_and_nothing_is_wrapped() -> None:
    seen = Seen()
    with serving(seen) as url:
        done = piped("one\n\ncut\n", "alice", "--url", url)
        assert (done.returncode, done.stdout.count(LONG)) == (0, 2)
        assert "cut: the model" in done.stderr
        refused = piped("refuse\nnever sent\n", "alice", "--url", url)
    assert refused.returncode == 1
    assert "\x1b" not in refused.stderr
    assert "--key-file" in refused.stderr
    assert [body["message"] for body in seen.bodies] == ["one", "cut", "refuse"]


def test_a_key_comes_from_the_environment_a_file_or_the_option(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sb_file\n")
    seen = Seen()
    with serving(seen) as url:
        piped("x\n", "alice", SWITCHBOARD_URL=url, SWITCHBOARD_API_KEY="sb_env")
        from_file = ("alice", "--url", url, "--key-file", str(file))
        piped("x\n", *from_file, SWITCHBOARD_API_KEY="sb_env")
        piped("x\n", *from_file, "--key", "sb_option")
        bad = piped("x\n", "alice", "--url", url, SWITCHBOARD_API_KEY="sb_\u201ccurly")
    assert seen.keys == ["Bearer sb_env", "Bearer sb_file", "Bearer sb_option"]
    assert (bad.returncode, "SWITCHBOARD_API_KEY" in bad.stderr) == (1, True)
    missing = piped("x\n", "alice", "--key-file", str(tmp_path / "none"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)


Certify = Callable[..., tuple[ssl.SSLContext, Path]]


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """Makes a certificate signed by itself, and the file to trust it by."""
    return partial(self_signed, tmp_path)


def test_a_certificate_of_its_own_is_told_as_such_and_can_be_trusted(certify: Certify) -> None:
    context, public = certify()
    with serving(Seen(), context) as url:
        refused = piped("x\n", "alice", "--url", url)
        assert refused.returncode == 1
        for word in ("self-signed", "--cacert", "SSL_CERT_FILE"):
            assert word in refused.stderr
        assert piped("x\n", "alice", "--url", url, "--cacert", str(public)).returncode == 0
        assert piped("x\n", "alice", "--url", url, SSL_CERT_FILE=str(public)).returncode == 0


@pytest.mark.parametrize(
    ("made", "word"), [({"days": -1}, "expired"), ({"host": "192.0.2.1"}, "another host")]
)
def test_what_is_wrong_with_a_certificate_is_said(
    certify: Certify, made: dict[str, object], word: str
) -> None:
    context, public = certify(**made)
    with serving(Seen(), context) as url:
        refused = piped("x\n", "alice", "--url", url, "--cacert", str(public))
    assert (refused.returncode, word in refused.stderr) == (1, True)


def test_every_fault_of_an_address_is_one_sentence(certify: Certify, tmp_path: Path) -> None:
    context, _ = certify()
    nothing = tmp_path / "empty.pem"
    nothing.write_text("")
    with serving(Seen()) as plain, serving(Seen(), context) as secure:
        cases = {
            "http://127.0.0.1:9": "is Switchboard running",
            "http://nobody.invalid": "not known",
            "http://127.0.0.1:99999": "must look like",
            "127.0.0.1:8080": "must look like",
            plain.replace("http:", "https:"): "does not speak TLS",
            secure.replace("https:", "http:"): "meant to be https",
            "http://me:hunter2@127.0.0.1:9": "is Switchboard running",
        }
        for url, words in cases.items():
            done = piped("x\n", "alice", "--url", url)
            assert (done.returncode, done.stdout) == (1, ""), url
            assert words in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert "hunter2" not in done.stderr
        for file in (nothing, tmp_path / "none.pem"):
            done = piped("x\n", "alice", "--url", secure, "--cacert", str(file))
            assert (done.returncode, "--cacert" in done.stderr) == (1, True)
