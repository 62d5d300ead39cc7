"""Gunicorn's gevent worker and log with this project's manners; settings are in server.py.

What never becomes a request is answered here with the error object of contract §3, and no line
of the log repeats what a client sent or shows a traceback for a connection that broke.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import traceback
from types import TracebackType
from typing import Any, Literal, Self

import gevent
from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader
from gunicorn.workers.ggevent import GeventWorker

logger = logging.getLogger("switchboard.errors")

STALL_SECONDS = 60.0
IDLE_SECONDS = 0.5
LINE_TOO_LONG = (414, "URI Too Long", "uri_too_long", "The address is too long.")
HEADERS_TOO_LARGE = (
    *(431, "Request Header Fields Too Large", "headers_too_large"),
    "The headers are too large.",
)
EXPECTATION = (417, "Expectation Failed", "bad_request", "This server cannot do what is expected.")
MALFORMED = (400, "Bad Request", "bad_request", "The request cannot be understood.")
DEFECT = (500, "Internal Server Error", "internal_error", "Something went wrong here.")


class Worker(GeventWorker):
    """The gevent worker; see the module for what it does in its own way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits: set[_Wait] = set()
        self._quitting = False

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """A terminal's Ctrl-C reaches this process twice: by itself and through gunicorn's first
        process. The second, in the middle of the first's exit, would end in a traceback."""
        if not self._quitting:
            self._quitting = True
            super().handle_quit(sig, frame)

    def timeout_ctx(self) -> gevent.Timeout:  # type: ignore[override]  # the stubs say None
        """Bounds the wait for a connection's next request."""
        return _Wait(self._waits, self.cfg.keepalive)

    def notify(self) -> None:
        """Each second. A stop lets turns end, but need not wait for connections that are idle."""
        super().notify()
        if not self.alive:
            for wait in list(self._waits):
                wait.end_if_idle()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """A client may send and read as slowly as it likes, but not stand still for ever."""
        if isinstance(req.body.reader, ChunkedReader):
            req.body.reader = _Chunks(req.body.reader)
        sock.settimeout(STALL_SECONDS)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            if sock.fileno() != -1:
                sock.settimeout(None)  # between requests gunicorn's keepalive bounds the wait

    def handle_error(
        self,
        req: Any,
        client: Any,
        addr: Any,  # noqa: ARG002  # gunicorn would log it
        exc: BaseException,
    ) -> None:
        """Answers what could not be read as a request."""
        status, reason, code, sentence = DEFECT if req is not None else _meaning(exc)
        request_id = f"req-{secrets.token_hex(12)}"
        fields = {"status": status, "request_id": request_id, "exception": type(exc).__name__}
        if status < 500:
            logger.info("malformed_request", extra=fields)
        else:
            trace = "".join(traceback.format_tb(exc.__traceback__))
            logger.error("unhandled_error", extra={**fields, "trace": trace})
        body = json.dumps({"error": sentence, "code": code, "request_id": request_id}).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode("ascii") + body)
        except OSError:
            return  # nobody is there to read it


class _Wait(gevent.Timeout):
    """A wait for the next request that can be ended before its time."""

    def __init__(self, waits: set[_Wait], seconds: float) -> None:
        super().__init__(seconds, False)  # type: ignore[arg-type]  # documented: ends the block
        self._waits = waits
        self._since = time.monotonic()
        self._greenlet = gevent.getcurrent()

    def __enter__(self) -> Self:
        self._waits.add(self)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> Literal[True] | None:
        self._waits.discard(self)
        return super().__exit__(kind, value, trace)

    def end_if_idle(self) -> None:
        """Unless it has only begun: then the request may be on its way."""
        if time.monotonic() - self._since > IDLE_SECONDS:
            gevent.kill(self._greenlet, self)


class Log(Logger):
    """Gunicorn's own lines; a connection that broke or stood still is one line, not a trace."""

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.info("connection_lost", extra={"exception": type(error).__name__})
        else:
            super().exception(msg, *args, **kwargs)


class _Chunks:
    """Reads a chunked body; one that is malformed looks like a connection that broke in it.

    So the application answers 400, as to any body that does not come whole, and the connection,
    of which nobody knows where its next request begins, is closed.
    """

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            content: bytes = self._reader.read(size)
        except errors.ParseException as error:
            raise ConnectionResetError("the chunks of the body are malformed") from error
        return content


def _meaning(exc: BaseException) -> tuple[int, str, str, str]:
    """Status, reason phrase, code and sentence."""
    if isinstance(exc, errors.LimitRequestLine):
        return LINE_TOO_LONG
    if isinstance(exc, errors.LimitRequestHeaders):
        return HEADERS_TOO_LARGE
    if isinstance(exc, errors.ExpectationFailed):
        return EXPECTATION
    if isinstance(exc, errors.ParseException):
        return MALFORMED
    return DEFECT
