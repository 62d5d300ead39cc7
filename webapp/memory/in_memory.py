"""A memory that lives as long as the process; for tests, trials and short programs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from webapp.clock import Clock, SystemClock
from webapp.ids import DEFAULT_SESSION, check_session_id
from webapp.memory.arguments import check_messages, check_size, user_or_default
from webapp.memory.capacity import fit
from webapp.memory.users import MemoryUser, check_inactivity
from webapp.messages import Message

DEFAULT_SIZE = 100


@dataclass(slots=True)
class _User:
    """One user's sessions; `active` is the moment of the last messages by the monotonic clock."""

    sessions: dict[str, tuple[Message, ...]] = field(default_factory=dict)
    active_at_ms: int = 0
    active: float = 0.0

    @property
    def message_count(self) -> int:
        return sum(map(len, self.sessions.values()))


class InMemory:
    """Keeps at most `max_size` messages a session; 0 or less means 100."""

    def __init__(self, max_size: int = DEFAULT_SIZE, *, clock: Clock | None = None) -> None:
        self.max_size = max_size if check_size(max_size) > 0 else DEFAULT_SIZE
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._users: dict[str, _User] = {}

    def add(self, *messages: Message, user_id: str = "", session_id: str = DEFAULT_SESSION) -> None:
        name, session = user_or_default(user_id), check_session_id(session_id)
        check_messages(messages)
        if not messages:
            return
        with self._lock:
            user = self._users.get(name) or _User()
            before = user.sessions.get(session, ())
            kept = fit((*before, *messages), self.max_size)
            if not kept:
                return  # a result without its call, from somebody who is not known
            user.sessions[session] = kept
            user.active_at_ms, user.active = self._clock.now_ms(), self._clock.monotonic()
            self._users[name] = user

    def get_messages(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> list[Message]:
        return list(self._stored(user_id, session_id))

    def size(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> int:
        return len(self._stored(user_id, session_id))

    def clear(self, user_id: str = "") -> int:
        name = user_or_default(user_id)
        with self._lock:
            return self._users.pop(name, _User()).message_count

    def clear_all(self) -> int:
        with self._lock:
            users, self._users = self._users, {}
        return sum(user.message_count for user in users.values())

    def users(self) -> Iterator[MemoryUser]:
        with self._lock:
            names = list(self._users)
        for name in names:
            with self._lock:
                user = self._users.get(name)
                found = user and MemoryUser(name, user.message_count, user.active_at_ms)
            if found:
                yield found

    def clear_inactive(self, inactive_for: timedelta) -> int:
        before = self._clock.monotonic() - check_inactivity(inactive_for) / 1000
        with self._lock:
            gone = [name for name, user in self._users.items() if user.active < before]
            for name in gone:
                del self._users[name]
        return len(gone)

    def _stored(self, user_id: str, session_id: str) -> tuple[Message, ...]:
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name)
            return () if user is None else user.sessions.get(session, ())
