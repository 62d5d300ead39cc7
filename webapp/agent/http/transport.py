"""Carries requests to the model's server over kept-alive connections; one at a time on each.

httpx2's own transport costs several times as much CPU for each request, and more with each open
connection; here a free connection is the last one put back, whatever their number. It knows nothing
of models: retries and the meaning of a status belong to those above it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import httpx2

from webapp.agent.http.answer import Answer, BadAnswer, NoAnswer
from webapp.agent.http.body import Body, Unusable, ended
from webapp.agent.http.call import Call
from webapp.agent.http.connecting import Connector
from webapp.agent.http.connection import Connection, Origin
from webapp.agent.http.head import Head
from webapp.agent.http.idle import IdleConnections
from webapp.agent.http.response import Response
from webapp.agent.http.watchdog import Watchdog

UNPACKED_HERE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class KeptAliveTransport(httpx2.BaseTransport):
    """HTTP/1.1 to any origin, with httpx2's errors.

    The call's patience bounds the wait for the answer's head and, for an answer that is not
    streamed, the whole answer, so that a server which sends a byte now and then cannot hold a turn
    for ever. How long a streamed one may take is for its reader to say, at the call.
    """

    def __init__(self, *, idle: IdleConnections | None = None) -> None:
        self._watchdog = Watchdog()
        self._connector = Connector(self._watchdog)
        self._idle = IdleConnections() if idle is None else idle

    def send(self, head: Head, content: bytes, call: Call, timeout: httpx2.Timeout) -> Response:
        """The answer; its body is still to come when the call streams and nothing went wrong."""
        call.begin(timeout.read)
        while True:
            if call.is_over():
                raise ended(call)
            connection = self._idle.take(head.origin)
            used_before = connection is not None
            if connection is None:
                connection = self._connector.connect(head.origin, call, timeout.connect)
            sock = connection.sock
            answer = Answer(sock, call)
            try:
                self._watchdog.watch(call, sock)
                # The watchdog ends the call in time; a time-out of each wait would cost a timer.
                sock.settimeout(None)
                _send(sock, head.with_body(content))
                call.sent = True
                answer.begin()
                call.taken = answer.status < 300
            except (BadAnswer, OSError) as error:
                self._drop(call, connection)
                if call.is_over():
                    raise ended(call) from error
                if used_before and isinstance(error, NoAnswer | ConnectionError):
                    continue  # the server had closed the kept connection: not this request's fault
                raise httpx2.ReadError("the connection broke") from error
            except BaseException:
                self._drop(call, connection)
                raise
            body = Body(answer, sock, call, self._done_with(head.origin, call, connection))
            if call.streaming and answer.status < 300:
                sock.settimeout(timeout.read)
                call.heard()
                return Response(answer.status, answer.fields, pieces=body, close=body.close)
            try:
                return Response(answer.status, answer.fields, _whole(body, call))
            finally:
                body.close()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """For an httpx2 client: the answer to its request, as a whole."""
        given = request.extensions.get("timeout", {})
        timeout = httpx2.Timeout(None, read=given.get("read"), connect=given.get("connect"))
        head, content = Head.of_request(request), request.read()
        response = self.send(head, content, Call(), timeout)
        fields = response.fields
        if fields.get("content-encoding"):
            fields = {name: fields[name] for name in fields.keys() - UNPACKED_HERE}
        return httpx2.Response(response.status, headers=fields, content=response.content)

    def close(self) -> None:
        self._idle.close()

    def _done_with(
        self, origin: Origin, call: Call, connection: Connection
    ) -> Callable[[bool], None]:
        """Keeps a connection whose answer was read to its end, and closes any other."""

        def done(reusable: bool) -> None:
            self._watchdog.leave(call)
            if reusable:
                self._idle.put(origin, connection)
            else:
                connection.close()

        return done

    def _drop(self, call: Call, connection: Connection) -> None:
        self._watchdog.leave(call)
        connection.close()


def _send(sock: socket.socket, request: bytes) -> None:
    """All of it; what fits into the buffer is nearly everything, and gone with one call."""
    sent = sock.send(request)
    if sent < len(request):
        sock.sendall(request[sent:])


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
