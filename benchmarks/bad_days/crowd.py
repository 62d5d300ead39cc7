"""Users who talk to one of several servers, each one turn after the other, until they are told."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.bad_days.witness import Refusals, Witness

PATIENCE_SECONDS = 90.0
REST_SECONDS = 0.05


class Crowd:
    """So many users, each with a thread and a connection of its own."""

    def __init__(
        self, ports: list[int], headers: dict[str, str], witness: Witness, users: int = 12
    ) -> None:
        self._ports = ports
        self._headers = {"Content-Type": "application/json", **headers}
        self._witness = witness
        self.refusals = Refusals()
        self.names = [f"user-{number}" for number in range(users)]
        self._over = threading.Event()
        self._left: Callable[[], bool] = lambda: True
        self._threads: list[threading.Thread] = []

    def start(self, turns: int | None = None) -> None:
        """Begins; with `turns` it ends when so many were tried."""
        if turns is not None:
            counted = itertools.count()
            self._left = lambda: next(counted) < turns
        self._threads = [
            threading.Thread(target=self._talk, args=(index, name), daemon=True)
            for index, name in enumerate(self.names)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Lets every turn that has begun end."""
        self._over.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def talking(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _talk(self, index: int, user: str) -> None:
        connection: http.client.HTTPConnection | None = None
        turn = index
        for number in itertools.count(1):
            if self._over.is_set() or not self._left():
                if connection is not None:
                    connection.close()
                return
            turn += 1
            stream = turn % 5 == 0
            if connection is None:
                port = self._ports[turn % len(self._ports)]
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            try:
                code = self._say(connection, user, number, stream=stream)
            except (OSError, http.client.HTTPException, ValueError):
                code = "lost"
            if code:
                self.refusals.add(code)
                connection.close()
                time.sleep(REST_SECONDS)
            if code or len(self._ports) > 1:
                connection.close()
                connection = None

    def _say(
        self, connection: http.client.HTTPConnection, user: str, number: int, *, stream: bool
    ) -> str:
        """The code of what was no answer; '' for an answer."""
        body = {"user_id": user, "message": f"{user} says {number}", "stream": stream}
        connection.request("POST", "/chat", json.dumps(body).encode(), self._headers)
        answer = connection.getresponse()
        content = answer.read()
        said: Any = _last_event(content) if answer.status == 200 and stream else json.loads(content)
        if answer.status != 200 or "code" in said:
            return str(said["code"])
        if said["reply"] != f"{user} hears {number}":
            self._witness.foreign += 1
            return "another_answer"
        self._witness.heard(user, number)
        return ""


def _last_event(content: bytes) -> Any:
    lines = [line for line in content.split(b"\n") if line.startswith(b"data: ")]
    return json.loads(lines[-1].removeprefix(b"data: "))
