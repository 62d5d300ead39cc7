"""The protocol of a memory: the conversations of all users, one for each session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from webapp.ids import DEFAULT_SESSION
from webapp.memory.summary import Summary
from webapp.memory.users import MemorySession, MemoryUser
from webapp.messages import Message
from webapp.session_state import StateChanges


@runtime_checkable
class Memory(Protocol):
    """The messages of every user, kept apart, each session cut to a cap (see capacity.py).

    A `user_id` that is left out or empty is `"default"`. Every method is safe to call from
    several threads, and raises `InvalidInput` for an id that cannot be one. Only `add` makes a
    user known.
    """

    def add(self, *messages: Message, user_id: str = "", session_id: str = DEFAULT_SESSION) -> None:
        """Appends all of the messages or none, then applies the cap; nothing when none is given."""
        ...

    def get_messages(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> list[Message]:
        """The session's messages, oldest first; the list is the caller's own."""
        ...

    def size(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> int:
        """The number of messages that `get_messages` would give: those of one session."""
        ...

    def clear(self, user_id: str = "", session_id: str | None = None) -> int:
        """Removes the messages of one session of the user, or of all; returns how many there
        were."""
        ...

    def clear_all(self) -> int:
        """Removes the messages of all users; returns how many there were."""
        ...

    def users(self) -> Iterator[MemoryUser]:
        """Every user who has messages, in the order in which they came, read as it is asked for.

        A user who is cleared meanwhile may be left out, a new one may be in it; nobody comes twice.
        Other methods may be called on the way.
        """
        ...

    def sessions(self, user_id: str = "") -> Iterator[MemorySession]:
        """The user's sessions that have messages, in the order in which they came, read as they are
        asked for."""
        ...

    def clear_inactive(self, inactive_for: timedelta) -> int:
        """Clears each user who was not active for so long; returns how many users.

        One who is active meanwhile is spared.
        """
        ...


@runtime_checkable
class StatefulMemory(Memory, Protocol):
    """A memory that keeps a JSON object for each session as well, its state.

    A memory need not: tools of an agent over one that has no `get_state` find an empty state, and
    an error when they set something. `clear` and `clear_inactive` leave states as they are. The
    methods raise `InvalidState` for what is not JSON, and `StateTooLarge` beyond
    `max_state_bytes`.
    """

    max_state_bytes: int

    def add(
        self,
        *messages: Message,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
        state: StateChanges | None = None,
    ) -> None:
        """As above; the changes of the state are made together with it or not at all.

        Raises `StateConflict` when another has changed meanwhile what a change was made of.
        """
        ...

    def get_state(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> dict[str, Any]:
        """The session's state, the caller's own copy; empty when there is none."""
        ...

    def set_state(
        self, state: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        """Puts this in the place of the session's state; an empty one removes it."""
        ...

    def update_state(
        self, values: Mapping[str, Any], user_id: str = "", session_id: str = DEFAULT_SESSION
    ) -> None:
        """Sets these keys at once, whatever others do to other keys meanwhile."""
        ...


@runtime_checkable
class SummarizedMemory(Memory, Protocol):
    """A memory that keeps a running summary of each session as well; it is no message.

    What clears or forgets a session's messages takes its summary too.
    """

    def get_summary(self, user_id: str = "", session_id: str = DEFAULT_SESSION) -> Summary | None:
        """The session's summary, None when it has none."""
        ...

    def put_summary(
        self,
        summary: Summary,
        *,
        newest: str,
        user_id: str = "",
        session_id: str = DEFAULT_SESSION,
    ) -> bool:
        """Puts it in the place of the session's summary; False, and nothing, when the session's
        newest message is not the one with the id `newest` any more: it was cleared meanwhile."""
        ...
