"""A memory over a database, whatever its engine; opening one is of the module of each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from webapp.clock import Clock, SystemClock
from webapp.ids import DEFAULT_SESSION, check_session_id
from webapp.memory import store
from webapp.memory.arguments import (
    check_messages,
    check_size,
    session_or_all,
    user_or_default,
)
from webapp.memory.clearing.parts import (
    ClearedPart,
    clear_all_part,
    clear_inactive,
    clear_part,
    clear_session_part,
)
from webapp.memory.history.store import history
from webapp.memory.sessions import store as sessions
from webapp.memory.states import store as states
from webapp.memory.states.store import StoredState
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.memory.users import MemorySession, MemoryUser, check_inactivity
from webapp.messages import Message
from webapp.session_state import MAX_BYTES, StateChanges
from webapp.session_state.values import (
    Fields,
    fields_of,
    read_fields,
    require_size,
    size_of,
    values_of,
    write_fields,
)
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.storage.slices import in_slices
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.tenants.user_ids.forms import PlainUserIds, UserIds

USERS_AT_ONCE = 500
CLEARED_AT_ONCE = 100


class StoredMemory:
    """Conversations in the tables that Switchboard itself uses."""

    def __init__(
        self,
        database: Database,
        max_size: int,
        *,
        owned: bool,
        user_ids: UserIds | None,
        clock: Clock | None,
        max_state_bytes: int = MAX_BYTES,
    ) -> None:
        """An `owned` database is closed with the memory."""
        self.max_state_bytes = max_state_bytes
        self.max_size = max(0, check_size(max_size))
        self._database = database
        self._owned = owned
        self._user_ids = user_ids or PlainUserIds(b"")
        self._clock = clock or SystemClock()

    def add(
        self,
        *messages: Message,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
        state: StateChanges | None = None,
    ) -> None:
        stored_id = self._stored_id(user_id)
        session = check_session_id(session_id)
        check_messages(messages)
        if not messages and state is None:
            return
        now = self._clock.now_ms()

        def work(connection: Connection) -> None:
            number = tenants.ensure(connection, stored_id, now, user_id=user_id)
            narrow(connection, number)
            growth = store.append(connection, number, session, messages, self.max_size, now)
            if state is not None:
                states.change(connection, number, session, state, self.max_state_bytes, now)
            counters.count_messages(connection, number, growth.added if growth else 0, now)

        self._database.write(work)

    def get_messages(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> list[Message]:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)
        with self._database.read() as connection:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return []
            narrow(connection, number)
            return history(connection, number, session)

    def get_state(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> dict[str, Any]:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)
        with self._database.read() as connection:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return {}
            narrow(connection, number)
            return values_of(read_fields(states.find(connection, number, session).text))

    def set_state(
        self, state: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        fields = fields_of(state)
        self._change_state(user_id, session_id, lambda _before: fields)

    def update_state(
        self, values: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        given = fields_of(values)
        self._change_state(user_id, session_id, lambda before: {**before, **given})

    def get_summary(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> Summary | None:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)
        with self._database.read() as connection:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return None
            narrow(connection, number)
            return summaries.find(connection, number, session)

    def put_summary(
        self,
        summary: Summary,
        *,
        newest: str,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
    ) -> bool:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)

        def work(connection: Connection) -> bool:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return False
            narrow(connection, number)
            return summaries.keep(connection, number, session, summary, newest)

        return self._database.write(work)

    def _change_state(
        self, user_id: str, session_id: str, change: Callable[[Fields], Fields]
    ) -> None:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)
        now = self._clock.now_ms()

        def changed(stored: StoredState) -> str | None:
            fields = change(read_fields(stored.text))
            require_size(size_of(fields), self.max_state_bytes)
            return write_fields(fields)

        def work(connection: Connection) -> None:
            number, made = tenants.make(connection, stored_id, now, user_id=user_id)
            narrow(connection, number)
            after = states.replace(connection, number, session, changed, now)
            if after.version:
                counters.count_messages(connection, number, 0, now)
            elif made:
                tenants.drop_unused(connection, number)

        self._database.write(work)

    def size(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> int:
        stored_id, session = self._stored_id(user_id), check_session_id(session_id)
        with self._database.read() as connection:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return 0
            narrow(connection, number)
            return store.size(connection, number, session)

    def clear(self, user_id: str = "", session_id: str | None = None) -> int:
        stored_id, session = self._stored_id(user_id), session_or_all(session_id)

        def step(connection: Connection) -> ClearedPart:
            number = tenants.number_of(connection, stored_id)
            if number is None:
                return ClearedPart()
            narrow(connection, number)
            if session is None:
                return clear_part(connection, number)
            found = sessions.find(connection, number, session)
            return ClearedPart() if found is None else clear_session_part(connection, number, found)

        return self._in_slices(step)

    def clear_all(self) -> int:
        after = 0

        def step(connection: Connection) -> ClearedPart:
            nonlocal after
            part = clear_all_part(connection, after)
            after = part.after
            return part

        return self._in_slices(step)

    def users(self) -> Iterator[MemoryUser]:
        last = 0
        while True:
            with self._database.read() as connection:
                page = counters.with_messages(connection, last, USERS_AT_ONCE)
            for one in page:
                user_id = self._user_ids.readable(one.user_id)
                yield MemoryUser(user_id, one.messages, one.last_active_at)
            if len(page) < USERS_AT_ONCE:
                return
            last = page[-1].number

    def sessions(self, user_id: str = "") -> Iterator[MemorySession]:
        stored_id, last = self._stored_id(user_id), 0
        while True:
            with self._database.read() as connection:
                number = tenants.number_of(connection, stored_id)
                if number is None:
                    return
                narrow(connection, number)
                page = sessions.with_messages(connection, number, last, USERS_AT_ONCE)
            for one in page:
                yield MemorySession(
                    one.session_id, one.title, one.message_count, one.last_active_at_ms
                )
            if len(page) < USERS_AT_ONCE:
                return
            last = page[-1].number

    def clear_inactive(self, inactive_for: timedelta) -> int:
        before_ms = self._clock.now_ms() - check_inactivity(inactive_for)
        cleared = 0
        while True:
            # In slices, so that turns find their way between them.
            slice_ = self._database.write_long(
                lambda connection: clear_inactive(connection, before_ms, CLEARED_AT_ONCE)
            )
            cleared += slice_
            if slice_ < CLEARED_AT_ONCE:
                return cleared

    def _in_slices(self, step: Callable[[Connection], ClearedPart]) -> int:
        parts = in_slices(self._database, step, lambda part: not part.finished)
        gone = sum(part.messages for part in parts)
        self._database.empty_log()
        return gone

    def close(self) -> None:
        """Closes the database, when this memory opened it."""
        if self._owned:
            self._database.close()

    def _stored_id(self, user_id: str) -> str:
        return self._user_ids.stored(user_or_default(user_id))
