"""Flask without what no request here uses: coroutines as views, and Flask's own session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, sessions
from flask.sessions import NullSession, SessionMixin


class NoSession(sessions.SessionInterface):
    """The console has cookies of its own; nothing else has any."""

    def __init__(self) -> None:
        self._session = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002
        return self._session

    def save_session(self, app: Flask, session: SessionMixin, response: Any) -> None:
        """There is nothing in it."""


class Application(Flask):
    """The application; what it is made of stands in `create_app`."""

    session_interface = NoSession()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        # Flask asks this of some fifteen functions for each request.
        return func
