"""The protocol of a memory: the conversations of all users, one for each session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol, runtime_checkable

from webapp.ids import DEFAULT_SESSION
from webapp.memory.users import MemoryUser
from webapp.messages import Message


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

    def clear(self, user_id: str = "") -> int:
        """Removes the messages of all the user's sessions; returns how many there were."""
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

    def clear_inactive(self, inactive_for: timedelta) -> int:
        """Clears each user who was not active for so long; returns how many users.

        One who is active meanwhile is spared.
        """
        ...
