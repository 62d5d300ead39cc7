"""The chain that every request goes through, in the order of the tuple at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from flask import Flask, Request, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp.errors import InvalidInput, UnknownHost
from webapp.this_machine import is_loopback
from webapp.web import compression, cors, errors
from webapp.web import context as request_context
from webapp.web.bounds import field_bounds
from webapp.web.context import context, current_request, services
from webapp.web.door import doors_of
from webapp.web.request_counts import count_requests
from webapp.web.traces import traces

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from webapp.services import Services

access_logger = logging.getLogger("switchboard.access")


def trusted_proxies(app: Flask) -> None:
    """Believes X-Forwarded-For and -Proto of as many proxies as the settings say, and no more.

    Never X-Forwarded-Host: a proxy that does not know it hands on what the client wrote there,
    and the client could choose under which name it is answered. A proxy hands on `Host` itself.
    """
    hops = services_of(app).settings.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=0
        )


def request_ids(app: Flask) -> None:
    """Gives each request its id and the moment it came; sends the id back."""

    @app.before_request
    def begin() -> None:
        request_context.begin(time.monotonic())

    @app.after_request
    def send(response: Response) -> Response:
        here = context()
        response.headers.add("X-Request-Id", here.request_id)
        for name, value in here.limit_headers.items():
            response.headers.add(name, value)
        response.call_on_close(here.ending.closed)
        return response


def access_log(app: Flask) -> None:
    """One line a request, when it is over: how a stream went and how long it took count as well."""

    log_user_ids = services_of(app).settings.log_user_ids
    reference = services_of(app).user_ids.reference

    @app.after_request
    def arrange(response: Response) -> Response:
        if not access_logger.isEnabledFor(logging.INFO):
            return response
        asked = current_request()
        here, method, path = context(), asked.method, _route(asked)

        def write() -> None:
            user = here.tenant
            access_logger.info(
                "request",
                extra={
                    "method": method,
                    "route": path,
                    "status": response.status_code,
                    "outcome": here.outcome,
                    "duration_ms": round((time.monotonic() - here.started) * 1000, 1),
                    "request_id": here.request_id,
                    "user": user if user is None or log_user_ids else reference(user),
                    "caller": here.principal.actor if here.principal else None,
                    "code": here.error_code,
                },
            )

        here.ending.then(write)
        return response


def hosts(app: Flask) -> None:
    """Answers only under the allowed host names, against DNS rebinding."""
    settings = services_of(app).settings
    allowed = frozenset(host.lower() for host in settings.allowed_hosts)
    loopback_only = services_of(app).open_to_this_machine

    @app.before_request
    def check() -> None:
        host = _host_name(request.host)
        if (loopback_only and not is_loopback(host)) or (allowed and not _matches(host, allowed)):
            raise UnknownHost("This server does not answer under that host name.")


def relative_redirects(app: Flask) -> None:
    """Redirects within this host only: the router builds addresses from the client's Host header.

    Two slashes in a path stay two, without a redirect.
    """
    app.url_map.merge_slashes = False

    @app.after_request
    def strip(response: Response) -> Response:
        target = response.headers.get("Location")
        if target is not None:
            parts = urlsplit(target)
            path = "/" + parts.path.lstrip("/\\")
            response.headers["Location"] = urlunsplit(("", "", path, parts.query, parts.fragment))
            if parts.netloc:
                response.set_data(b"")  # the router's page has a link to that host as well
        return response


def addresses(app: Flask) -> None:
    """Refuses addresses that are not UTF-8: with replaced bytes they would name another id."""

    @app.before_request
    def check() -> None:
        path: str = request.environ.get("PATH_INFO", "")
        if path.isascii() and b"%" not in request.query_string:
            return
        try:
            path.encode("latin-1").decode("utf-8")
            unquote_to_bytes(request.query_string).decode("utf-8")
        except UnicodeError:
            raise InvalidInput("The address is not valid UTF-8.", code="invalid_address") from None


def body_limit(app: Flask) -> None:
    """Refuses larger bodies before they are read."""
    app.config["MAX_CONTENT_LENGTH"] = services_of(app).settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = services_of(app).settings.max_body_bytes


def security_headers(app: Flask) -> None:
    """Gives every answer the headers of its door that it does not have yet."""
    inner, doors = app.wsgi_app, doors_of(app)
    headers_of = {
        door: [(name, value, name.lower()) for name, value in door.headers.items()]
        for door in doors.all
    }

    def with_headers(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The same path as Flask's `request.path`, which is not there yet.
        path = "/" + environ.get("PATH_INFO", "").lstrip("/")
        wanted = headers_of[doors.of(path)]

        def start(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value, low in wanted if low not in given]
            return start_response(status, headers, *failure)

        return inner(environ, start)

    app.wsgi_app = with_headers  # type: ignore[method-assign]  # Flask's own way to wrap it


def callers(app: Flask) -> None:
    """Finds who is asking, as the door does; the guards refuse later, after the limiter."""

    @app.before_request
    def find() -> None:
        context().door.find_caller()


def recovery(app: Flask) -> None:
    """Registers the error handlers, also the one for exceptions that nothing else handles."""
    errors.register(app)


def services_of(app: Flask) -> Services:
    with app.app_context():
        return services()


def _route(incoming: Request) -> str:
    """The rule that matched, not the path: a path can hold a user id."""
    rule = incoming.url_rule
    return rule.rule if rule is not None else "unmatched"


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _matches(host: str, allowed: frozenset[str]) -> bool:
    if host in allowed or "*" in allowed:
        return True
    return any(name.startswith(".") and host.endswith(name) for name in allowed)


MIDDLEWARE = (
    trusted_proxies,
    request_ids,
    access_log,
    count_requests,
    traces,
    hosts,
    relative_redirects,
    addresses,
    body_limit,
    field_bounds,
    cors.cors,
    security_headers,
    compression.compression,
    callers,
    recovery,
)
