"""Flask without what no request here uses: coroutines as views, and Flask's own session."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from flask import Flask, Request, sessions
from flask.sessions import NullSession, SessionMixin
from werkzeug.routing import Map, MapAdapter
from werkzeug.wsgi import get_host


@lru_cache(maxsize=256)
def _server_name(host: str) -> str:
    return Map().bind(host).server_name


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

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        # Flask's own looks at the host twice, and for subdomains, which no route here has.
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        request.host = get_host(environ)
        return MapAdapter(
            self.url_map,
            _server_name(request.host),
            request.root_path,
            "",
            environ["wsgi.url_scheme"],
            request.path,
            environ["REQUEST_METHOD"],
            request.query_string.decode(errors="replace"),
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        # Flask asks this of some fifteen functions for each request.
        return func
