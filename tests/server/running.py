"""A real server as `switchboard dev` starts it, in its own process group; no test."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import free_port, tree
from tests.conftest import SECRET
from webapp.accounts.audit import Actor
from webapp.services import Services, build_services
from webapp.settings import load_settings

COMMAND = Path(sys.executable).with_name("switchboard")
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


@dataclass(slots=True)
class Server:
    """One server: its process, its database, what it has printed."""

    folder: Path
    port: int
    base_url: str
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    credential: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)  # of the environment, as they stand

    @property
    def database(self) -> Path:
        return self.folder / "switchboard.db"

    @property
    def printed(self) -> str:
        return (self.folder / "printed").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def worker(self) -> int:
        """The process that answers: the only child of gunicorn's first process."""
        (worker,) = [pid for pid in tree(self.pid) if pid != self.pid]
        return worker

    def start(self, *arguments: str) -> Server:
        """Starts it and returns when it answers."""
        self.launch(*arguments)
        return self.wait()

    def wait(self) -> Server:
        """Returns when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                assert self.request("GET", "/healthz", timeout=START_SECONDS).status == 200
                return self
            except OSError:
                assert self.process is not None
                assert self.process.poll() is None, self.printed
                assert time.monotonic() < deadline, self.printed
                time.sleep(0.02)

    def launch(self, *arguments: str, limit: Callable[[], None] | None = None) -> None:
        """Starts it and returns at once; `limit` is called in its process before all else."""
        self._begin(["dev", "--port", str(self.port), *arguments], limit)

    def serve(self, *arguments: str) -> Server:
        """Starts `switchboard serve` instead, with a schema and a key, and waits for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings.setdefault("AUTH", "required")
        # As `db upgrade` and `keys create` do it, without the start of a process for each.
        with closing(self.services()) as services:
            services.upgrade_database()
            new = services.keys.create("tests", role="owner", users="*", by=Actor.command_line())
        self.credential = {"Authorization": f"Bearer {new.secret}"}
        self.launch_serve(*arguments)
        return self.wait()

    def services(self) -> Services:
        """What it is made of, over the same database but in this process."""
        return build_services(load_settings(self.environment(), self.folder))

    def launch_serve(self, *arguments: str) -> None:
        """The same without waiting, and whatever the database is."""
        self._begin(["serve", "--bind", f"127.0.0.1:{self.port}", *arguments], None)

    def run(self, *arguments: str) -> str:
        """Runs another command of it to its end; what it said on its standard output."""
        done = subprocess.run(
            [str(COMMAND), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=True,
        )
        return done.stdout

    def _begin(self, arguments: list[str], limit: Callable[[], None] | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "printed").open("ab") as printed:
            self.process = subprocess.Popen(
                [str(COMMAND), *arguments],
                env=self.environment(),
                stdout=printed,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=limit,  # noqa: PLW1509  # no thread of the tests holds a lock that it takes
            )

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SWITCHBOARD_", "OPENAI_", "OTEL_"))
            and not name.lower().endswith("_proxy")
        }
        settings = {
            "SECRET_KEY": SECRET,
            "RATE_LIMIT": "1000000/minute",
            "DATABASE_URL": f"sqlite:///{self.database}",
            **self.settings,
        }
        if not settings["DATABASE_URL"].startswith("sqlite:"):
            # Else it lies in the folder of the checkout, where all that is tested at once meets.
            settings.setdefault("RATE_LIMIT_STORAGE_URL", f"sqlite:///{self.folder / 'limits.db'}")
        return {
            **kept,
            **self.variables,
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": "x",
            **{f"SWITCHBOARD_{name}": value for name, value in settings.items()},
        }

    def end(self, how: signal.Signals = signal.SIGTERM, *, timeout: float = 20) -> int:
        """Sends the signal to the first process and waits; whatever is left is killed."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        finally:
            self.kill_group()

    def kill_group(self) -> None:
        """kill -9 of everything that it started."""
        assert self.process is not None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left
        self.process.wait()

    # -- asking it ------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            content = None if body is None else json.dumps(body).encode()
            given = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(
                method, path, content, {**given, **self.credential, **(headers or {})}
            )
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def chat(self, user_id: str, message: str, timeout: float = 30, **more: Any) -> Answer:
        return self.request(
            "POST", "/chat", {"user_id": user_id, "message": message, **more}, timeout=timeout
        )

    def metric(self, name: str) -> float:
        """The sum of what `/metrics` tells under this name."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))

    def connect(self, timeout: float = 30) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def say(self, user_id: str, message: str, **more: Any) -> socket.socket:
        """Sends a turn on a bare connection and leaves its answer unread."""
        connection = self.connect()
        connection.sendall(chat_request(user_id, message, self.credential, **more))
        return connection


def chat_request(
    user_id: str, message: str, credential: Mapping[str, str] | None = None, **more: Any
) -> bytes:
    """The bytes of a POST /chat."""
    shown = "".join(f"{name}: {value}\r\n" for name, value in (credential or {}).items())
    body = json.dumps({"user_id": user_id, "message": message, **more}).encode()
    head = (
        "POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{shown}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def running(folder: Path, base_url: str, **settings: str) -> Iterator[Server]:
    """A server for the length of the block."""
    server = Server(folder, free_port(), base_url, settings)
    try:
        yield server.start()
    finally:
        if server.process is not None:
            server.kill_group()
