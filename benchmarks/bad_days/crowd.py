"""Users who talk to one of several servers, each one turn after the other, until they are told."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.bad_days.witness import Refusals, Witness

REST_SECONDS = 0.05
SILENCE = "no_answer"  # in all of the connection's patience, which no fault may last

Door = Callable[[], http.client.HTTPConnection]


class Crowd:
    """So many users, each with a thread and a connection of its own."""

    def __init__(
        self,
        doors: list[Door],
        headers: dict[str, str],
        witness: Witness,
        users: int = 12,
        rate: float | None = None,
    ) -> None:
        """A door makes a connection to one of the servers. With a `rate` all of them together
        begin at most so many turns a second."""
        self._doors = doors
        self._headers = {"Content-Type": "application/json", **headers}
        self._witness = witness
        self.refusals = Refusals()
        self.names = [f"user-{number}" for number in range(users)]
        self._pause = users / rate if rate else 0.0
        self._began = self._ended = 0.0
        # When an answer came, to whom, and by which door.
        self.answers: list[tuple[float, str, int]] = []
        self._over = threading.Event()
        self._left: Callable[[], bool] = lambda: True
        self._threads: list[threading.Thread] = []

    def start(self, turns: int | None = None) -> None:
        """Begins; with `turns` it ends when so many were tried."""
        if turns is not None:
            counted = itertools.count()
            self._left = lambda: next(counted) < turns
        self._began = time.monotonic()
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
        self._ended = time.monotonic()

    @property
    def talking(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def answered(self, door: int, since: float, until: float) -> int:
        """How many answers came by this door."""
        return sum(since <= at < until for at, _, by in self.answers if by == door)

    def longest_wait(self) -> float:
        """The longest time in which one of the users had no answer, in seconds."""
        last = dict.fromkeys(self.names, self._began)
        longest = 0.0
        for at, user, _ in sorted(self.answers):
            longest, last[user] = max(longest, at - last[user]), at
        ended = self._ended or time.monotonic()
        return max(longest, *(ended - at for at in last.values()))

    def _talk(self, index: int, user: str) -> None:
        connection: http.client.HTTPConnection | None = None
        turn = index
        for number in itertools.count(1):
            if self._over.is_set() or not self._left():
                if connection is not None:
                    connection.close()
                return
            turn += 1
            door = turn % len(self._doors)
            try:
                connection = connection or self._doors[door]()
                code = self._say(connection, user, number, stream=turn % 5 == 0)
            except TimeoutError:
                code = SILENCE
            except (OSError, http.client.HTTPException, ValueError):
                code = "lost"
            if code:
                self.refusals.add(code)
                time.sleep(REST_SECONDS)
            else:
                self.answers.append((time.monotonic(), user, door))
            if connection is not None and (code or len(self._doors) > 1):
                connection.close()
                connection = None
            if self._pause:
                self._over.wait(self._pause)

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
