"""Carries the openai client's requests over kept-alive connections of the standard library.

The client's own transport costs twice as much for each request and grows dearer with the number
of open connections; here a free connection is the last one put back, whatever their number.
It knows nothing of models: retries and the meaning of a status belong to the client above it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2

from webapp.agent.lookout import Lookout

IDLE_SECONDS = 30.0
MAX_IDLE = 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_INTERIM = 16
CHUNK = 64 * 1024
END_SECONDS = 0.05
NO_RETRY = ("x-should-retry", "false")
HEADERS_LEFT_OUT = frozenset({b"connection", b"content-length", b"transfer-encoding"})
Origin = tuple[str, str, int]


class _OneWrite:
    """Sends a request's head and body in one piece, where http.client makes two packets of it."""

    sock: socket.socket
    _pieces: list[bytes]

    def send(self, data: Any) -> None:
        self._pieces.append(data)

    def flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        self.sock.sendall(b"".join(pieces))

    def begin(self) -> None:
        self._pieces = []


class _Connection(_OneWrite, http.client.HTTPConnection):
    """Plain HTTP."""


class _TLSConnection(_OneWrite, http.client.HTTPSConnection):
    """HTTP over TLS."""


AnyConnection = _Connection | _TLSConnection


class KeptAliveTransport(httpx2.BaseTransport):
    """HTTP/1.1 to any origin, one request at a time on a connection.

    Raises the httpx2 errors that the openai client expects. The read time-out bounds the wait for
    the answer's head and, for an answer that is not a stream of events, the whole answer, so
    that an upstream which drips a byte now and then cannot hold a turn for ever. Running out of
    it looks like a 408 that is not to be tried again, and being called off like a 499.
    """

    def __init__(self, lookout: Lookout | None = None) -> None:
        self._context: ssl.SSLContext | None = None
        self._lookout = lookout or Lookout()
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[tuple[AnyConnection, float]]] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = request.extensions.get("timeout", {})
        read_timeout: float | None = timeouts.get("read")
        origin = _origin(request)
        body = request.read()
        deadline = None if read_timeout is None else time.monotonic() + read_timeout
        cancel = self._lookout.cancel
        while True:
            if cancel is not None and cancel.is_set():
                return _not_tried_again(499)
            connection, used_before = self._take(origin, timeouts.get("connect"))
            try:
                self._lookout.watch(connection, cancel, connection.sock)
                if connection.sock is not None:
                    connection.sock.settimeout(read_timeout)
                _send(connection, request, body)
                answer = _final(connection.getresponse())
            except TimeoutError:
                self._drop(connection)
                return _not_tried_again(408)
            except (http.client.HTTPException, OSError) as error:
                self._drop(connection)
                if cancel is not None and cancel.is_set():
                    return _not_tried_again(499)
                if used_before and isinstance(
                    error, http.client.RemoteDisconnected | ConnectionError
                ):
                    continue  # the server had closed the kept connection: not this request's fault
                raise httpx2.ReadError("the connection broke", request=request) from error
            except BaseException:
                self._drop(connection)
                raise
            return self._response(request, origin, connection, answer, deadline)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection, _ in connections:
                connection.close()

    def _response(
        self,
        request: httpx2.Request,
        origin: Origin,
        connection: AnyConnection,
        answer: http.client.HTTPResponse,
        deadline: float | None,
    ) -> httpx2.Response:
        body = _Body(self, request, origin, connection, answer)
        headers = answer.getheaders()
        if (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
            return httpx2.Response(answer.status, headers=headers, stream=body)
        try:
            content = body.read_all(deadline)
        except httpx2.ReadTimeout:
            return _not_tried_again(408)
        finally:
            body.close()
        if _asks_for_long_wait(answer, request):
            headers = [*headers, NO_RETRY]
        return httpx2.Response(answer.status, headers=headers, content=content)

    def _take(self, origin: Origin, connect_timeout: float | None) -> tuple[AnyConnection, bool]:
        now = time.monotonic()
        with self._lock:
            idle = self._idle.get(origin, [])
            while idle:
                connection, since = idle.pop()
                if now - since < IDLE_SECONDS and _is_silent(connection):
                    return connection, True
                connection.close()
        return self._connect(origin, connect_timeout), False

    def _connect(self, origin: Origin, timeout: float | None) -> AnyConnection:
        scheme, host, port = origin
        connection: AnyConnection
        if scheme == "https":
            context = self._context or httpx2.create_ssl_context()
            self._context = context
            connection = _TLSConnection(host, port, timeout=timeout, context=context)
        else:
            connection = _Connection(host, port, timeout=timeout)
        try:
            connection.connect()
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx2.ConnectError("no connection") from error
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def done(self, origin: Origin, connection: AnyConnection, *, reusable: bool) -> None:
        """Keeps a connection whose answer was read to its end, and closes any other."""
        self._lookout.leave(connection)
        if reusable:
            with self._lock:
                idle = self._idle.setdefault(origin, [])
                if len(idle) < MAX_IDLE:
                    idle.append((connection, time.monotonic()))
                    return
        connection.close()

    def _drop(self, connection: AnyConnection) -> None:
        self._lookout.leave(connection)
        connection.close()


class _Body(httpx2.SyncByteStream):
    """The answer's bytes as they come; keeps the connection when all of them were read."""

    def __init__(
        self,
        transport: KeptAliveTransport,
        request: httpx2.Request,
        origin: Origin,
        connection: AnyConnection,
        answer: http.client.HTTPResponse,
    ) -> None:
        self._transport = transport
        self._request = request
        self._origin = origin
        self._connection = connection
        self._answer = answer
        self._reusable = False
        self._broken = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        reusable, self._broken = not self._answer.will_close, True
        try:
            while chunk := self._answer.read1(CHUNK):
                self._broken = False
                yield chunk
                self._broken = True
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no whole answer in time", request=self._request) from error
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise httpx2.ReadError("the answer broke off", request=self._request) from error
        if self._answer.length:
            raise httpx2.RemoteProtocolError("the answer broke off", request=self._request)
        self._reusable, self._broken = reusable, False

    def read_all(self, deadline: float | None) -> bytes:
        """Every byte, unless they take too long or are too many."""
        chunks: list[bytes] = []
        total = 0
        for chunk in self:
            total += len(chunk)
            if total > MAX_ANSWER_BYTES:
                raise httpx2.RemoteProtocolError("the answer is too large", request=self._request)
            if deadline is not None and time.monotonic() > deadline:
                raise httpx2.ReadTimeout("no whole answer in time", request=self._request)
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        reusable = self._reusable or self._comes_to_its_end()
        self._answer.close()
        self._transport.done(self._origin, self._connection, reusable=reusable)

    def _comes_to_its_end(self) -> bool:
        """Whether nothing but the end was left to read, as after the last event of a stream."""
        if self._broken or self._answer.will_close or self._connection.sock is None:
            return False
        try:
            self._connection.sock.settimeout(END_SECONDS)
            return not self._answer.read1(CHUNK) and not self._answer.length
        except (http.client.HTTPException, OSError, ValueError):
            return False


def _final(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The answer itself, after any interim ones (RFC 9110, 15.2).

    http.client takes a 103 for a whole answer without a body, and the real one would wait on the
    kept connection for the next request: somebody else's.
    """
    for _ in range(MAX_INTERIM):
        if answer.status >= 200:
            return answer
        answer.headers = answer.msg = None  # type: ignore[assignment]  # by which `begin` reads on
        answer.begin()
    raise http.client.HTTPException("nothing but interim answers")


def _is_silent(connection: AnyConnection) -> bool:
    """Nothing was sent on the kept connection since its last answer, not even its end.

    What the server says before it is asked belongs to an earlier request, so to another user.
    """
    try:
        connection.sock.settimeout(0)
        # Not the method of a TLS socket, which refuses to look without taking.
        socket.socket.recv(connection.sock, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _not_tried_again(status: int) -> httpx2.Response:
    """A failure as the client is to see it: any other it would try twice more."""
    return httpx2.Response(status, headers=[NO_RETRY])


def _asks_for_long_wait(answer: http.client.HTTPResponse, request: httpx2.Request) -> bool:
    """The server wants a pause longer than a turn may wait, which the client would obey."""
    text = answer.getheader("Retry-After")
    patience = request.extensions.get("timeout", {}).get("read")
    return bool(text and text.isdecimal() and patience is not None and int(text) > patience)


def _origin(request: httpx2.Request) -> Origin:
    url = request.url
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _send(connection: AnyConnection, request: httpx2.Request, body: bytes) -> None:
    connection.begin()
    connection.putrequest(
        request.method,
        request.url.raw_path.decode("ascii"),
        skip_host=True,
        skip_accept_encoding=True,
    )
    for name, value in request.headers.raw:
        if name.lower() not in HEADERS_LEFT_OUT:
            connection.putheader(name, value)
    if body or request.method in ("POST", "PUT", "PATCH"):
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    connection.flush()
