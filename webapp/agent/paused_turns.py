"""Where an agent of a program keeps the turns that wait for approval; the server has a table."""

from __future__ import annotations

import threading
from typing import Protocol

from webapp.agent.approvals import PausedTurn
from webapp.ids import DEFAULT_SESSION

MAX_TURNS = 10_000


class PausedTurns(Protocol):
    """At most one turn a session, that of its user alone."""

    def get(self, *, user_id: str, session_id: str = DEFAULT_SESSION) -> PausedTurn | None: ...

    def put(self, turn: PausedTurn, *, user_id: str, session_id: str = DEFAULT_SESSION) -> None: ...

    def drop(self, *, user_id: str, session_id: str = DEFAULT_SESSION) -> None:
        """Takes the turn away, if there is one."""
        ...


class InMemoryPausedTurns:
    """In this process; of more than `MAX_TURNS` the oldest goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[tuple[str, str], PausedTurn] = {}

    def get(self, *, user_id: str, session_id: str = DEFAULT_SESSION) -> PausedTurn | None:
        with self._lock:
            return self._turns.get((user_id, session_id))

    def put(self, turn: PausedTurn, *, user_id: str, session_id: str = DEFAULT_SESSION) -> None:
        with self._lock:
            self._turns.pop((user_id, session_id), None)
            self._turns[user_id, session_id] = turn
            while len(self._turns) > MAX_TURNS:
                del self._turns[next(iter(self._turns))]

    def drop(self, *, user_id: str, session_id: str = DEFAULT_SESSION) -> None:
        with self._lock:
            self._turns.pop((user_id, session_id), None)
