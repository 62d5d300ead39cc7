"""The users of a memory and their sessions: those with messages, and when each was last active."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from webapp.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class MemoryUser:
    """A user who has messages; `last_active_at_ms` is milliseconds since 1970-01-01 UTC."""

    user_id: str
    message_count: int
    last_active_at_ms: int

    @property
    def last_active_at(self) -> datetime:
        """When the last messages were added, in UTC."""
        return datetime.fromtimestamp(self.last_active_at_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class MemorySession:
    """A session that has messages; its title is its first question in short, None when that has
    nothing to show. `last_active_at_ms` is milliseconds since 1970-01-01 UTC."""

    session_id: str
    title: str | None
    message_count: int
    last_active_at_ms: int

    @property
    def last_active_at(self) -> datetime:
        """When the last messages were added, in UTC."""
        return datetime.fromtimestamp(self.last_active_at_ms / 1000, UTC)


def check_inactivity(inactive_for: object) -> int:
    """The length in milliseconds; `InvalidInput` for one that would make everybody inactive."""
    if not isinstance(inactive_for, timedelta) or inactive_for <= timedelta(0):
        sentence = "inactive_for must be a positive timedelta"
        raise InvalidInput(sentence, fields={"inactive_for": sentence})
    return inactive_for // timedelta(milliseconds=1)
