"""The transport to a server at an address; what it sends is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Fault, Unreachable
from webapp.agent.mcp.server import HTTPServer
from webapp.agent.mcp.sieve import Sieve

# Whoever asks for a stream is answered when something happens: each request has its own limit.
TIMEOUT = httpx2.Timeout(10.0, read=None, write=30.0, pool=30.0)
_SAID: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "refuses the credential that it was sent (401)",
    HTTPStatus.FORBIDDEN: "refuses the credential that it was sent (403)",
    HTTPStatus.NOT_FOUND: "has nothing at this address (404)",
    HTTPStatus.TOO_MANY_REQUESTS: "was asked too often (429)",
}


class HTTPTransport:
    """The streams to one server."""

    last_words = ""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self.ended = asyncio.Event()  # it does not end by itself
        self.patient = True
        self.fault: Fault | None = None
        self.sieve: Sieve | None = None

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Any, Any]]:
        client = httpx2.AsyncClient(
            transport=_Network(self._unreachable),
            # What is not compressed is no larger than it looks.
            headers={"Accept-Encoding": "identity", **self._server.headers},
            timeout=TIMEOUT,
            event_hooks={"response": [self._look]},
        )
        async with (
            client,
            streamable_http_client(
                self._server.url,
                http_client=client,
                max_sse_event_size=bounds.MESSAGE_MAX_BYTES,
            ) as (read, write),
        ):
            self.sieve = Sieve(read)
            yield self.sieve, write

    def _unreachable(self, error: httpx2.TransportError) -> None:
        self.fault = Unreachable(f"cannot be reached ({type(error).__name__})")

    async def _look(self, response: httpx2.Response) -> None:
        """Notes what is wrong with an answer, and bounds its body."""
        if _OURS not in response.extensions:
            self.fault = fault_of(response)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise Fault("compresses its answers, although it was asked not to")
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = _Bounded(response.stream)


def fault_of(response: httpx2.Response) -> Fault | None:
    """What is wrong with an answer, by its status."""
    status = response.status_code
    if response.has_redirect_location:  # within its origin it is followed, and asked again
        return Fault("sends us to another address; name that one instead")
    if status < HTTPStatus.BAD_REQUEST:
        return None
    kind = "fails" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "refuses what it is asked"
    return Fault(_SAID.get(status, f"{kind} ({status})"))


class _Network(httpx2.AsyncHTTPTransport):
    """Makes an answer of a request that came to nothing, so that it fails alone: an error would
    end the whole connection, and with it the calls of others."""

    def __init__(self, note: Callable[[httpx2.TransportError], None]) -> None:
        super().__init__()
        self._note = note

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except httpx2.TransportError as error:
            self._note(error)
            return httpx2.Response(HTTPStatus.BAD_GATEWAY, extensions={_OURS: True})


_OURS = "switchboard_made"


class _Unread(httpx2.StreamError):
    """Which the package makes an error of the call that is answered."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that may not be longer than a message."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._stream:
                size += len(chunk)
                if size > bounds.MESSAGE_MAX_BYTES:
                    raise _Unread(bounds.TOO_LONG)
                yield chunk
        except httpx2.TransportError:
            raise _Unread("The answer broke off.") from None

    async def aclose(self) -> None:
        await self._stream.aclose()
