"""Holds whether this process is stopping, and when its turns are cut; the server decides both."""

from __future__ import annotations

import threading

from webapp.errors import ServerStopping
from webapp.turns import Cancellation


class Stopping:
    """One for each application; set from outside, asked by the turns."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._cut = threading.Event()

    @property
    def begun(self) -> bool:
        """The process ends when all is done that is under way."""
        return self._begun.is_set()

    @property
    def has_cut(self) -> bool:
        """The time for that is over: turns that still run end now, and none begins."""
        return self._cut.is_set()

    def begin(self) -> None:
        self._begun.set()

    def cut(self) -> None:
        self._begun.set()
        self._cut.set()

    def or_called_off(self, cancel: Cancellation | None) -> Cancellation:
        """Set when the turn's own cancellation is, or when turns are cut."""
        return _Either(self, cancel)

    @staticmethod
    def error() -> ServerStopping:
        """The error of a turn that was cut."""
        return ServerStopping("The server is stopping; nothing was stored, so try again.")


class _Either:
    """A `Cancellation` of two causes."""

    __slots__ = ("_cancel", "_stopping")

    def __init__(self, stopping: Stopping, cancel: Cancellation | None) -> None:
        self._stopping = stopping
        self._cancel = cancel

    def is_set(self) -> bool:
        return self._stopping.has_cut or (self._cancel is not None and self._cancel.is_set())
