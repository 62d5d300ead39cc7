"""A memory that lives as long as the process; for tests, trials and short programs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from webapp.clock import Clock, SystemClock
from webapp.ids import DEFAULT_SESSION, check_session_id
from webapp.memory.arguments import (
    check_messages,
    check_size,
    session_or_all,
    user_or_default,
)
from webapp.memory.capacity import fit
from webapp.memory.sessions.titles import opening_of
from webapp.memory.summary import Summary
from webapp.memory.users import MemorySession, MemoryUser, check_inactivity
from webapp.messages import Message
from webapp.session_state import MAX_BYTES, StateChanges
from webapp.session_state.values import Fields, fields_of, require_size, size_of, values_of

DEFAULT_SIZE = 100


@dataclass(slots=True)
class _Session:
    """What is stored of one session; a cleared one is there still, without messages or title."""

    messages: tuple[Message, ...] = ()
    title: str | None = None
    active_at_ms: int = 0


@dataclass(slots=True)
class _User:
    """One user's sessions; `active` is the moment of the last messages by the monotonic clock."""

    sessions: dict[str, _Session] = field(default_factory=dict)
    states: dict[str, Fields] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    active_at_ms: int = 0
    active: float = 0.0

    @property
    def message_count(self) -> int:
        return sum(len(session.messages) for session in self.sessions.values())


class InMemory:
    """Keeps at most `max_size` messages a session; 0 or less means 100."""

    def __init__(
        self,
        max_size: int = DEFAULT_SIZE,
        *,
        max_state_bytes: int = MAX_BYTES,
        clock: Clock | None = None,
    ) -> None:
        self.max_state_bytes = max_state_bytes
        self.max_size = max_size if check_size(max_size) > 0 else DEFAULT_SIZE
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._users: dict[str, _User] = {}

    def add(
        self,
        *messages: Message,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
        state: StateChanges | None = None,
    ) -> None:
        name, session = user_or_default(user_id), check_session_id(session_id)
        check_messages(messages)
        with self._lock:
            user = self._users.get(name) or _User()
            if state is not None:
                states = user.states.get(session, {})
                self._put_state(user, session, state.apply(states, self.max_state_bytes))
            stored = user.sessions.get(session) or _Session()
            kept = fit((*stored.messages, *messages), self.max_size)
            if messages and kept:
                title = opening_of(messages) if stored.title is None else stored.title
                user.sessions[session] = _Session(kept, title, self._clock.now_ms())
            # A result without its call, from somebody who is not known, makes nobody known.
            if (messages and kept) or state is not None:
                self._note_active(name, user)

    def get_messages(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> list[Message]:
        return list(self._stored(user_id, session_id))

    def get_state(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> dict[str, Any]:
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name)
            fields = {} if user is None else user.states.get(session, {})
        return values_of(fields)

    def set_state(
        self, state: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        fields = fields_of(state)
        require_size(size_of(fields), self.max_state_bytes)
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name) or _User()
            self._put_state(user, session, fields)
            if fields:
                self._note_active(name, user)

    def update_state(
        self, values: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        given = fields_of(values)
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name) or _User()
            fields = {**user.states.get(session, {}), **given}
            require_size(size_of(fields), self.max_state_bytes)
            self._put_state(user, session, fields)
            if fields:
                self._note_active(name, user)

    def get_summary(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> Summary | None:
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name)
            return None if user is None else user.summaries.get(session)

    def put_summary(
        self,
        summary: Summary,
        *,
        newest: str,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
    ) -> bool:
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name)
            stored = None if user is None else user.sessions.get(session)
            if user is None or stored is None or not stored.messages:
                return False
            if stored.messages[-1].id != newest:
                return False
            user.summaries[session] = summary
            return True

    def size(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> int:
        return len(self._stored(user_id, session_id))

    def clear(self, user_id: str = "", session_id: str | None = None) -> int:
        name, session = user_or_default(user_id), session_or_all(session_id)
        with self._lock:
            return self._clear(name) if session is None else self._clear_session(name, session)

    def clear_all(self) -> int:
        with self._lock:
            return sum(map(self._clear, list(self._users)))

    def users(self) -> Iterator[MemoryUser]:
        with self._lock:
            names = list(self._users)
        for name in names:
            with self._lock:
                user = self._users.get(name)
                count = 0 if user is None else user.message_count
                found = user and count and MemoryUser(name, count, user.active_at_ms)
            if found:
                yield found

    def sessions(self, user_id: str = "") -> Iterator[MemorySession]:
        name = user_or_default(user_id)
        with self._lock:
            user = self._users.get(name) or _User()
            found = [
                MemorySession(
                    session, stored.title or None, len(stored.messages), stored.active_at_ms
                )
                for session, stored in user.sessions.items()
                if stored.messages
            ]
        yield from found

    def clear_inactive(self, inactive_for: timedelta) -> int:
        before = self._clock.monotonic() - check_inactivity(inactive_for) / 1000
        with self._lock:
            silent = [name for name, user in self._users.items() if user.active < before]
            return sum(self._clear(name) > 0 for name in silent)

    def _clear(self, name: str) -> int:
        """Removes the user's messages, and the user who has no state; gives their number."""
        user = self._users.get(name)
        if user is None:
            return 0
        gone = user.message_count
        user.sessions, user.summaries = {}, {}
        if not user.states:
            del self._users[name]
        return gone

    def _clear_session(self, name: str, session: str) -> int:
        user = self._users.get(name) or _User()
        gone = len((user.sessions.get(session) or _Session()).messages)
        if gone == user.message_count:
            return self._clear(name)
        if gone:
            user.sessions[session] = _Session()
            user.summaries.pop(session, None)
        return gone

    def _put_state(self, user: _User, session: str, fields: Fields) -> None:
        if fields:
            user.states[session] = fields
        else:
            user.states.pop(session, None)

    def _note_active(self, name: str, user: _User) -> None:
        user.active_at_ms, user.active = self._clock.now_ms(), self._clock.monotonic()
        self._users[name] = user

    def _stored(self, user_id: str, session_id: str) -> tuple[Message, ...]:
        name, session = user_or_default(user_id), check_session_id(session_id)
        with self._lock:
            user = self._users.get(name)
            stored = None if user is None else user.sessions.get(session)
            return () if stored is None else stored.messages
