"""The connection to one server: it is kept, and made again when it was lost.

All of it runs on the event loop. One task enters and leaves each client, as the package wants it;
a client that is dead stays dead, so there is a new one then.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import anyio
import httpx2
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    HEADER_MISMATCH,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
    ServerNotification,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Away, Fault, Unreachable
from webapp.agent.mcp.http import HTTPTransport
from webapp.agent.mcp.listing import Listing, listing_of
from webapp.agent.mcp.server import HTTPServer, StdioServer, Use
from webapp.agent.mcp.stdio import StdioTransport
from webapp.agent.tools import ToolError
from webapp.version import __version__

_log = logging.getLogger("switchboard.mcp")

# As the package says that an answer was none of JSON-RPC; why, the transport knows better.
STAND_INS = ("Server returned an error response", "Not Found", "Redirect to ")
TERMINATED = "Session terminated"  # as the package says that the server has forgotten the session
_ANSWER: TypeAdapter[Any] = TypeAdapter(CallToolResult | InputRequiredResult)


class Connection:
    """`publish` is told the tools whenever they change, and why there is no connection."""

    def __init__(
        self,
        name: str,
        server: StdioServer | HTTPServer,
        use: Use,
        publish: Callable[[Listing | Away], None],
    ) -> None:
        self._name = name
        self._server = server
        self._use = use
        self._starts = _starts()
        self._publish = publish
        self._client: Client | None = None
        self._transport: StdioTransport | HTTPTransport | None = None
        self._fault = Fault("was not there yet")
        self._hurry = asyncio.Event()  # somebody waits for the next try
        self._tried = asyncio.Event()  # of the try that is under way or comes next
        self._wake = asyncio.Event()
        self._changed = False
        self._closing = asyncio.Event()
        self._lost: Fault | None = None
        self._scope: anyio.CancelScope | None = None  # of the connection
        self._was_there = self._legacy = False
        self._probing = False
        self._running = self._timeouts = 0
        self._listed: frozenset[str] = frozenset()

    @property
    def last_words(self) -> str:
        """What a process wrote last to its standard error."""
        return self._transport.last_words if self._transport is not None else ""

    def close(self) -> None:
        """Lets `keep` come to its end."""
        self._closing.set()
        self._hurry.set()
        if self._scope is not None:
            self._scope.cancel()

    async def keep(self) -> None:
        """Connects again and again, until the connection is closed."""
        failures = 0
        while not self._closing.is_set():
            began, self._was_there = time.monotonic(), False
            try:
                await self._connected()
                fault = self._lost or Fault("ended the connection")
            except Exception as error:  # noqa: BLE001  # a server's faults have any form
                fault = self._lost or self._what(error)
            finally:
                self._client = self._scope = None
            if self._closing.is_set():
                break
            if time.monotonic() - began >= bounds.SOUND_SECONDS:
                failures = 0
            self._failed(fault)
            await self._pause(failures)
            failures += 1
        self._fault = Fault("is closed")
        self._tried.set()

    def _failed(self, fault: Fault) -> None:
        """One that was there until now is tried again before it counts as away."""
        self._fault = fault
        self._publish(Away(fault, lost=self._was_there))
        if not self._was_there:
            self._legacy = not self._legacy  # some end at a question that they do not know
            self._tried.set()
        self._begin_next()

    def _begin_next(self) -> None:
        """From here on, who waits waits for the next try."""
        if self._tried.is_set():
            self._tried = asyncio.Event()

    async def call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any] | None, seconds: float
    ) -> CallToolResult:
        """What the tool gave. Raises `ToolError` with a sentence for the model."""
        if self._running >= bounds.CALLS_AT_ONCE:
            raise ToolError(f"The MCP server {self._name} is busy; try again later.")
        self._running += 1
        try:
            return await self._call(tool, arguments, meta, time.monotonic() + seconds)
        finally:
            self._running -= 1

    async def _call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any] | None, until: float
    ) -> CallToolResult:
        again = True
        while True:
            client = await self._ready(until)
            if tool not in self._listed:
                raise ToolError(f"The MCP server {self._name} has no tool {tool!r} any more.")
            try:
                return await self._asked(client, tool, arguments, meta, until)
            except MCPError as error:
                # In both cases the server has not looked at the call yet.
                if again and error.code == HEADER_MISMATCH:
                    await self._list_again(client)
                elif again and error.message == TERMINATED:
                    self._lose(client, Fault("has forgotten the session"))
                else:
                    raise ToolError(self._sentence(client, tool, error)) from None
                again = False
            except ValidationError:
                raise ToolError(f"{tool} gave what is not a result of MCP.") from None

    async def _asked(
        self,
        client: Client,
        tool: str,
        arguments: dict[str, Any],
        meta: dict[str, Any] | None,
        until: float,
    ) -> CallToolResult:
        """One call. Not by the client's own method, which would check the result by the server's
        schema of it, whatever that may cost."""
        parameters = CallToolRequestParams.model_validate(
            {"name": tool, "arguments": arguments, "_meta": meta}
        )
        answer = await client.session.send_request(
            CallToolRequest(params=parameters),
            _ANSWER,
            request_read_timeout_seconds=max(0.001, until - time.monotonic()),
        )
        if isinstance(answer, CallToolResult):
            return answer
        raise ToolError(f"{tool} asks its user for something, which is not possible here.")

    def _sentence(self, client: Client, tool: str, error: MCPError) -> str:
        """What the model is told of a call that failed; the server's own words are of use to it."""
        if error.code == REQUEST_TIMEOUT:
            self._timeouts += 1
            if self._timeouts >= bounds.TIMEOUTS_MAX:
                self._lose(client, Fault("does not answer calls in time"))
            elif not self._probing:
                self._probing = True
                self._probe = asyncio.ensure_future(self._probed(client))
            return f"{tool} did not answer in time."
        if error.code == CONNECTION_CLOSED:
            if isinstance(self._server, StdioServer):
                self._lose(client, Fault("ended during a call"))
            return (
                f"The MCP server {self._name} ended the connection during the call, which may have"
                " been done or not."
            )
        fault = self._transport.fault if self._transport is not None else None
        if fault is not None and error.message.startswith(STAND_INS):
            if isinstance(fault, Unreachable):
                self._lose(client, fault)
            return f"The MCP server {self._name} {fault}."
        return f"{tool} failed: {error.message[:1000]}"

    async def _ready(self, until: float) -> Client:
        """The client. When there is none, the next try is waited for, and comes soon."""
        transport = self._transport
        if self._client is not None and transport is not None and transport.ended.is_set():
            self._lose(self._client, transport.fault or Fault("has ended"))
        if self._client is None and not self._closing.is_set():
            self._hurry.set()
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await self._tried.wait()
            except TimeoutError:
                pass
        client = self._client
        if client is None:
            raise ToolError(f"The MCP server {self._name} is away: it {self._fault}.")
        return client

    async def _connected(self) -> None:
        """One connection, from its beginning to its end."""
        kind = StdioTransport if isinstance(self._server, StdioServer) else HTTPTransport
        transport = self._transport = kind(self._server)  # type: ignore[arg-type]  # of its kind
        self._lost, self._timeouts = None, 0
        async with _Start(self._starts) as start:
            with anyio.fail_after(bounds.CONNECT_SECONDS) as self._scope:
                async with Client(
                    transport.streams(),
                    read_timeout_seconds=bounds.LIST_SECONDS,
                    message_handler=self._hear,
                    client_info=Implementation(name="switchboard", version=__version__),
                    cache=None,
                    mode="legacy" if self._legacy else "auto",
                ) as client:
                    await self._list(client)
                    self._scope.deadline = float("inf")
                    start.is_over()
                    self._client, self._was_there = client, True
                    self._tried.set()
                    await self._live(client, transport)

    async def _live(self, client: Client, transport: StdioTransport | HTTPTransport) -> None:
        """Keeps the list of tools as the server has it, until the connection is over."""
        beside = [asyncio.create_task(self._until_ended(transport))]
        tools = client.server_capabilities.tools
        if (
            client.protocol_version in MODERN_PROTOCOL_VERSIONS
            and tools is not None
            and tools.list_changed
        ):
            beside.append(asyncio.create_task(self._listen(client)))
        try:
            while not self._closing.is_set() and self._lost is None:
                self._wake.clear()
                if self._changed:
                    await self._list_again(client)
                    # A server that says it all the time is not asked all the time.
                    await asyncio.sleep(bounds.LIST_PAUSE_SECONDS)
                    continue
                try:
                    async with asyncio.timeout(bounds.REFRESH_SECONDS * random.uniform(0.8, 1.2)):  # nosec B311
                        await self._wake.wait()
                except TimeoutError:
                    self._changed = True
        finally:
            self._client = None
            self._begin_next()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _until_ended(self, transport: StdioTransport | HTTPTransport) -> None:
        await transport.ended.wait()
        self._lost = transport.fault or Fault("has ended")
        self._wake.set()

    async def _listen(self, client: Client) -> None:
        """Hears of changes from a server that has no session to tell them in."""
        pause = 1.0
        while True:
            try:
                async with client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        pause = 1.0
                        self._note_change()
            except MCPError:
                return  # it has no such stream after all; it is asked now and then
            except Exception:  # noqa: BLE001  # the stream ended, however it did
                self._note_change()  # of what happens meanwhile nobody tells
            await asyncio.sleep(pause)
            pause = min(pause * 2, bounds.LONGEST_PAUSE_SECONDS)

    async def _hear(self, message: Any) -> None:
        if isinstance(message, ServerNotification) and isinstance(
            message, ToolListChangedNotification
        ):
            self._note_change()

    def _note_change(self) -> None:
        self._changed = True
        self._wake.set()

    async def _list_again(self, client: Client) -> None:
        try:
            await self._list(client)
        except (MCPError, ValidationError, Fault) as error:
            self._lose(client, self._what(error))

    async def _list(self, client: Client) -> None:
        self._changed = False
        found: list[Any] = []
        cursor: str | None = None
        sieve = self._transport.sieve if self._transport is not None else None
        left_out = [] if sieve is None else sieve.left_out
        left_out.clear()
        async with asyncio.timeout(bounds.LIST_SECONDS):
            for _ in range(bounds.PAGES_MAX):
                page = await client.session.list_tools(
                    params=PaginatedRequestParams(cursor=cursor) if cursor else None
                )
                found += page.tools
                cursor = page.next_cursor
                if not cursor or len(found) > bounds.LISTED_MAX:
                    break
        # Looking through the schemas of a large list takes a while, in which others are served.
        listing = await asyncio.to_thread(
            listing_of, found[: bounds.LISTED_MAX], self._use, tuple(left_out)
        )
        self._listed = frozenset(tool.remote for tool in listing.tools)
        self._publish(listing)

    async def _probed(self, client: Client) -> None:
        """After a call that took too long: whether the server is still there at all."""
        try:
            async with asyncio.timeout(bounds.PROBE_SECONDS):
                await client.session.list_tools()
        except (TimeoutError, MCPError, ValidationError) as error:
            if isinstance(error, TimeoutError) or error.__class__ is MCPError:
                self._lose(client, Fault("does not answer any more"))
        finally:
            self._probing = False

    def _lose(self, client: Client, fault: Fault) -> None:
        """This client is of no more use."""
        if self._client is client:
            self._client = None
            self._begin_next()
            self._lost = fault
            if self._transport is not None:
                self._transport.patient = False
            self._wake.set()

    async def _pause(self, failures: int) -> None:
        """The pause after a failure, longer each time; a call that waits cuts it short."""
        longest = min(bounds.LONGEST_PAUSE_SECONDS, bounds.FIRST_PAUSE_SECONDS * 2**failures)
        pause = longest * random.uniform(0.8, 1.2)  # nosec B311
        least = min(pause, bounds.HURRY_SECONDS)
        self._hurry.clear()
        if not await _set_within(self._closing, least):
            await _set_within(self._hurry, pause - least)

    def _what(self, error: BaseException) -> Fault:
        """The fault behind an error, in words of ours: a server's own may hold anything."""
        told = self._transport.fault if self._transport is not None else None
        for each in _leaves(error):
            match each:
                case Fault():
                    return each
                case MCPError(message=words) if bounds.TOO_LONG in words:
                    told = Fault(
                        f"says too much: {bounds.TOO_LONG[:1].lower()}{bounds.TOO_LONG[1:-1]}"
                    )
                case MCPError(code=code) if told is None and code == REQUEST_TIMEOUT:
                    told = Fault("does not answer in time")
                case MCPError() if told is None and each.code != CONNECTION_CLOSED:
                    told = Fault(f"refuses to talk (MCP error {each.code})")
                case TimeoutError() if told is None:
                    told = Fault("does not answer in time")
                case httpx2.TransportError() | OSError() if told is None:
                    told = Fault(f"cannot be reached ({type(each).__name__})")
                case ValidationError() if told is None:
                    told = Fault("sends what is not MCP")
        if told is None and self._transport is not None and self._transport.ended.is_set():
            told = Fault("has ended")
        if told is None:
            _log.debug("an MCP server failed", exc_info=error)
        return told or Fault(f"failed ({type(error).__name__})")


class _Start:
    """A place among those that are started at once; whoever takes long gives it up, because its
    work is done by then, and a server that hangs must not keep others from being started."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._has_place = False

    async def __aenter__(self) -> Self:
        await self._places.acquire()
        self._has_place = True
        self._timer = asyncio.get_running_loop().call_later(bounds.START_SECONDS, self.is_over)
        return self

    def is_over(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.release()

    async def __aexit__(self, *_failure: object) -> None:
        self._timer.cancel()
        self.is_over()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _starts() -> asyncio.Semaphore:
    """How many servers are started at once, on the loop that runs."""
    loop = asyncio.get_running_loop()
    for known, semaphore in _STARTS:
        if known is loop:
            return semaphore
    _STARTS[:] = [(loop, asyncio.Semaphore(bounds.STARTS_AT_ONCE))]
    return _STARTS[0][1]


_STARTS: list[tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]] = []


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
