"""A memory that lives as long as the process; for tests, trials and short programs."""

from __future__ import annotations

import threading

from webapp.ids import DEFAULT_SESSION, check_session_id
from webapp.memory.arguments import check_messages, user_or_default
from webapp.memory.capacity import fit
from webapp.messages import Message

DEFAULT_SIZE = 100


class InMemory:
    """Keeps at most `max_size` messages a session; 0 or less means 100."""

    def __init__(self, max_size: int = DEFAULT_SIZE) -> None:
        self.max_size = max_size if max_size > 0 else DEFAULT_SIZE
        self._lock = threading.Lock()
        self._users: dict[str, dict[str, tuple[Message, ...]]] = {}

    def add(self, *messages: Message, user_id: str = "", session_id: str = DEFAULT_SESSION) -> None:
        user, session = user_or_default(user_id), check_session_id(session_id)
        check_messages(messages)
        if not messages:
            return
        with self._lock:
            sessions = self._users.setdefault(user, {})
            sessions[session] = fit((*sessions.get(session, ()), *messages), self.max_size)

    def get_messages(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> list[Message]:
        return list(self._stored(user_id, session_id))

    def size(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> int:
        return len(self._stored(user_id, session_id))

    def clear(self, user_id: str = "") -> int:
        user = user_or_default(user_id)
        with self._lock:
            sessions = self._users.pop(user, {})
        return sum(map(len, sessions.values()))

    def clear_all(self) -> int:
        with self._lock:
            users, self._users = self._users, {}
        return sum(len(messages) for sessions in users.values() for messages in sessions.values())

    def _stored(self, user_id: str, session_id: str) -> tuple[Message, ...]:
        user, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            return self._users.get(user, {}).get(session, ())
