"""How many sessions and messages a tenant may have in all, and how many were dropped for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """0 is no limit."""

    sessions: int = 0
    messages: int = 0

    def __bool__(self) -> bool:
        return self.sessions > 0 or self.messages > 0


NO_LIMITS = TenantLimits()


@dataclass(frozen=True, slots=True)
class Dropped:
    """The sessions that went, and the messages in them."""

    sessions: int = 0
    messages: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(self.sessions + other.sessions, self.messages + other.messages)


NOTHING_DROPPED = Dropped()


class DropCount:
    """Counts the sessions that this process has dropped for a limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sessions = 0

    def add(self, sessions: int) -> None:
        with self._lock:
            self.sessions += sessions
