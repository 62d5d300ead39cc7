"""Carries the openai client's requests over kept-alive connections of the standard library.

The client's own transport costs twice as much for each request and grows dearer with the number
of open connections; here a free connection is the last one put back, whatever their number.
It knows nothing of models: retries and the meaning of a status belong to those above it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

import httpx2

from webapp.agent.http.answer import Answer
from webapp.agent.http.body import Body, Unusable
from webapp.agent.http.call import Call
from webapp.agent.http.connecting import Connector
from webapp.agent.http.connection import Connection, Origin
from webapp.agent.http.idle import IdleConnections
from webapp.agent.http.lookout import Lookout
from webapp.agent.http.unpacking import ACCEPTED

HEADERS_LEFT_OUT = frozenset(
    {b"accept-encoding", b"connection", b"content-length", b"transfer-encoding"}
)
UNPACKED_HERE = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class KeptAliveTransport(httpx2.BaseTransport):
    """HTTP/1.1 to any origin, one request at a time on a connection.

    Raises the httpx2 errors that the openai client expects. The read time-out bounds the wait for
    the answer's head and, for an answer that is not streamed, the whole answer, so that an
    upstream which drips a byte now and then cannot hold a turn for ever. How long a streamed one
    may take is for its reader to say, at the lookout's `Call`.
    """

    def __init__(
        self, lookout: Lookout | None = None, *, idle: IdleConnections | None = None
    ) -> None:
        self._lookout = lookout or Lookout()
        self._connector = Connector(self._lookout)
        self._idle = IdleConnections() if idle is None else idle

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = request.extensions.get("timeout", {})
        origin = _origin(request)
        content = request.read()
        call = self._lookout.call
        call.begin(timeouts.get("read"))
        while True:
            if call.is_over():
                raise _ended(call, request)
            connection = self._idle.take(origin)
            used_before = connection is not None
            if connection is None:
                connection = self._connector.connect(origin, call, timeouts.get("connect"))
            sock = connection.sock
            try:
                self._lookout.watch(call, sock)
                sock.settimeout(call.left)
                send(connection, request, content)
                call.sent = True
                answer = connection.answer(request.method)
                call.taken = answer.status < 300
                if call.streaming:
                    sock.settimeout(timeouts.get("read"))
            except (http.client.HTTPException, OSError) as error:
                self._drop(call, connection)
                if call.is_over() or isinstance(error, TimeoutError):
                    raise _ended(call, request) from error
                if used_before and isinstance(
                    error, http.client.RemoteDisconnected | ConnectionError
                ):
                    continue  # the server had closed the kept connection: not this request's fault
                raise httpx2.ReadError("the connection broke", request=request) from error
            except BaseException:
                self._drop(call, connection)
                raise
            body = Body(answer, sock, call, request, self._done_with(origin, call, connection))
            return _response(request, call, answer, body)

    def close(self) -> None:
        self._idle.close()

    def _done_with(
        self, origin: Origin, call: Call, connection: Connection
    ) -> Callable[[bool], None]:
        """Keeps a connection whose answer was read to its end, and closes any other."""

        def done(reusable: bool) -> None:
            self._lookout.leave(call)
            if reusable:
                self._idle.put(origin, connection)
            else:
                connection.close()

        return done

    def _drop(self, call: Call, connection: Connection) -> None:
        self._lookout.leave(call)
        connection.close()


def _response(request: httpx2.Request, call: Call, answer: Answer, body: Body) -> httpx2.Response:
    """Streamed if that was asked for and nothing went wrong, else whole."""
    fields = answer.fields
    if answer.field(b"content-encoding"):
        fields = [each for each in fields if each[0].lower() not in UNPACKED_HERE]
    if call.streaming and answer.status < 300:
        call.heard()
        return httpx2.Response(answer.status, headers=fields, stream=body, request=request)
    try:
        content = _whole(body, call)
    finally:
        body.close()
    return httpx2.Response(answer.status, headers=fields, content=content, request=request)


def _whole(body: Body, call: Call) -> bytes:
    """All of it. An object of JSON says by itself that nothing is missing, also where the server
    does not end its answer or breaks off before it did.
    """
    pieces: list[bytes] = []
    try:
        pieces.extend(body)
    except httpx2.TransportError as error:
        content = b"".join(pieces)
        if call.called_off or isinstance(error, Unusable) or not _is_object(content):
            raise
        return content
    return b"".join(pieces)


def _is_object(content: bytes) -> bool:
    if not content.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def _ended(call: Call, request: httpx2.Request) -> httpx2.TransportError:
    if call.called_off:
        return httpx2.ReadError("the call was called off", request=request)
    return httpx2.ReadTimeout("no whole answer in time", request=request)


def _origin(request: httpx2.Request) -> Origin:
    url = request.url
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def send(connection: Connection, request: httpx2.Request, content: bytes) -> None:
    """Writes the request, head and body at once: two writes would be two packets.

    Raises `http.client.HTTPException` for a field that would make a second one.
    """
    fields = [field for field in request.headers.raw if field[0].lower() not in HEADERS_LEFT_OUT]
    fields.append((b"Accept-Encoding", ACCEPTED))
    if content or request.method in ("POST", "PUT", "PATCH"):
        fields.append((b"Content-Length", b"%d" % len(content)))
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % field for field in fields]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields):
        raise http.client.HTTPException("a line end in the head of the request")
    connection.sock.sendall(b"%b\r\n\r\n%b" % (head, content))
