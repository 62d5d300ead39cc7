"""The connection to one server: it is kept, and made again when it was lost.

All of it runs on the event loop. One task enters and leaves each client, as the package wants it;
a client that is dead stays dead, so there is a new one then.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import anyio
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    Implementation,
    PaginatedRequestParams,
    ServerNotification,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from webapp.agent.mcp import bounds
from webapp.agent.mcp.calls import Calls
from webapp.agent.mcp.diagnosis import fault_behind
from webapp.agent.mcp.faults import Away, Fault
from webapp.agent.mcp.http import HTTPTransport
from webapp.agent.mcp.listing import Listing, listing_of
from webapp.agent.mcp.server import HTTPServer, StdioServer, Use
from webapp.agent.mcp.starts import Start, starts
from webapp.agent.mcp.stdio import StdioTransport
from webapp.agent.tools import ToolError
from webapp.version import __version__

_log = logging.getLogger("switchboard.mcp")


class Connection:
    """`publish` is told the tools whenever they change, and why there is no connection."""

    def __init__(
        self,
        name: str,
        server: StdioServer | HTTPServer,
        use: Use,
        publish: Callable[[Listing | Away], None],
    ) -> None:
        self.name = name
        self.server = server
        self._use = use
        self._starts = starts()
        self._publish = publish
        self._client: Client | None = None
        self.transport: StdioTransport | HTTPTransport | None = None
        self._fault = Fault("was not there yet")
        self._hurry = asyncio.Event()  # somebody waits for the next try
        self._tried = asyncio.Event()  # of the try that is under way or comes next
        self._wake = asyncio.Event()
        self._changed = False
        self._closing = asyncio.Event()
        self._lost: Fault | None = None
        self._scope: anyio.CancelScope | None = None  # of the connection
        self._was_there = self._legacy = False
        self.listed: frozenset[str] = frozenset()
        self.calls = Calls(self)

    @property
    def last_words(self) -> str:
        """What a process wrote last to its standard error."""
        return self.transport.last_words if self.transport is not None else ""

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
                fault = self._lost or fault_behind(error, self.transport)
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
            transport = self.transport
            if isinstance(transport, StdioTransport) and transport.ended.is_set():
                self._legacy = not self._legacy  # some end at a question that they do not know
            self._tried.set()
        self._begin_next()

    def _begin_next(self) -> None:
        """From here on, who waits waits for the next try."""
        if self._tried.is_set():
            self._tried = asyncio.Event()

    async def ready(self, until: float) -> Client:
        """The client. When there is none, the next try is waited for a while, and comes soon.

        Raises `ToolError` when there is none then.
        """
        transport = self.transport
        if self._client is not None and transport is not None and transport.ended.is_set():
            self.lose(self._client, transport.fault or Fault("has ended"))
        if self._client is None and not self._closing.is_set():
            self._hurry.set()
            try:
                async with asyncio.timeout(min(until - time.monotonic(), bounds.READY_SECONDS)):
                    await self._tried.wait()
            except TimeoutError:
                pass
        client = self._client
        if client is None:
            raise ToolError(f"The MCP server {self.name} is away: it {self._fault}.")
        return client

    async def _connected(self) -> None:
        """One connection, from its beginning to its end."""
        kind = StdioTransport if isinstance(self.server, StdioServer) else HTTPTransport
        transport = self.transport = kind(self.server)  # type: ignore[arg-type]  # of its kind
        self._lost = None
        async with Start(self._starts) as start:
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
                    await self.list_again(client)
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

    async def list_again(self, client: Client) -> None:
        try:
            await self._list(client)
        except (MCPError, ValidationError, Fault) as error:
            self.lose(client, fault_behind(error, self.transport))

    async def _list(self, client: Client) -> None:
        self._changed = False
        found: list[Any] = []
        cursor: str | None = None
        sieve = self.transport.sieve if self.transport is not None else None
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
        self.listed = frozenset(tool.remote for tool in listing.tools)
        self._publish(listing)

    def lose(self, client: Client, fault: Fault) -> None:
        """This client is of no more use."""
        if self._client is client:
            self._client = None
            self._begin_next()
            self._lost = fault
            if self.transport is not None:
                self.transport.patient = False
            self._wake.set()

    async def _pause(self, failures: int) -> None:
        """The pause after a failure, longer each time; a call that waits cuts it short."""
        longest = min(bounds.LONGEST_PAUSE_SECONDS, bounds.FIRST_PAUSE_SECONDS * 2**failures)
        pause = longest * random.uniform(0.8, 1.2)  # nosec B311
        least = min(pause, bounds.HURRY_SECONDS)
        self._hurry.clear()
        if not await _set_within(self._closing, least):
            await _set_within(self._hurry, pause - least)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
