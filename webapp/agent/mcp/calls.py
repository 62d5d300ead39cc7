"""Calls of a server's tools over its connection, and what a model is told when one fails."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    HEADER_MISMATCH,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
)
from pydantic import TypeAdapter, ValidationError

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Fault, Unreachable
from webapp.agent.mcp.http import HTTPTransport
from webapp.agent.mcp.stdio import StdioTransport
from webapp.agent.tools import ToolError

# As the package says that an answer was none of JSON-RPC; why, the transport knows better.
STAND_INS = ("Server returned an error response", "Not Found", "Redirect to ")
# Who waits for a tool gives up in time by itself; this is for those who do not.
LATER_SECONDS = 1.0
TERMINATED = "Session terminated"  # as the package says that the server has forgotten the session
_ANSWER: TypeAdapter[Any] = TypeAdapter(CallToolResult | InputRequiredResult)


class Line(Protocol):
    """As much of a connection as a call needs."""

    name: str
    listed: frozenset[str]
    transport: StdioTransport | HTTPTransport | None

    async def ready(self, until: float) -> Client:
        """The client; raises `ToolError`."""
        ...

    async def list_again(self, client: Client) -> None:
        """Asks for the tools anew."""
        ...

    def lose(self, client: Client, fault: Fault) -> None:
        """This client is of no more use."""
        ...


class Calls:
    """The calls of one server, from its first connection on."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._running = 0
        self._timed_out: tuple[Client | None, int] = (None, 0)
        self._probe: asyncio.Future[None] | None = None

    async def call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any] | None, seconds: float
    ) -> CallToolResult:
        """What the tool gave. Raises `ToolError` with a sentence for the model."""
        if self._running >= bounds.CALLS_AT_ONCE:
            raise ToolError(f"The MCP server {self._line.name} is busy; try again later.")
        self._running += 1
        try:
            return await self._call(tool, arguments, meta, time.monotonic() + seconds)
        finally:
            self._running -= 1

    async def _call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any] | None, until: float
    ) -> CallToolResult:
        line, again = self._line, True
        while True:
            client = await line.ready(until)
            if tool not in line.listed:
                raise ToolError(f"The MCP server {line.name} has no tool {tool!r} any more.")
            try:
                return await self._asked(client, tool, arguments, meta, until)
            except MCPError as error:
                # In both cases the server has not looked at the call yet.
                if again and error.code == HEADER_MISMATCH:
                    await line.list_again(client)
                elif again and error.message == TERMINATED:
                    line.lose(client, Fault("has forgotten the session"))
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
        try:
            answer = await client.session.send_request(
                CallToolRequest(params=parameters),
                _ANSWER,
                request_read_timeout_seconds=max(0.001, until - time.monotonic()) + LATER_SECONDS,
            )
        except asyncio.CancelledError:
            if time.monotonic() >= until - LATER_SECONDS / 2:
                self._note_timeout(client)
            raise
        if isinstance(answer, CallToolResult):
            return answer
        raise ToolError(f"{tool} asks its user for something, which is not possible here.")

    def _sentence(self, client: Client, tool: str, error: MCPError) -> str:
        """What the model is told of a call that failed; the server's own words are of use to it."""
        line, transport = self._line, self._line.transport
        if error.code == REQUEST_TIMEOUT:
            self._note_timeout(client)
            return f"{tool} did not answer in time."
        if error.code == CONNECTION_CLOSED:
            if isinstance(transport, StdioTransport):
                line.lose(client, Fault("ended during a call"))
            return (
                f"The MCP server {line.name} ended the connection during the call, which may have"
                " been done or not."
            )
        fault = transport.fault if transport is not None else None
        if fault is not None and error.message.startswith(STAND_INS):
            if isinstance(fault, Unreachable):
                line.lose(client, fault)
            return f"The MCP server {line.name} {fault}."
        return f"{tool} failed: {error.message[:1000]}"

    def _note_timeout(self, client: Client) -> None:
        """One call that hangs is the tool's own affair; many, or a silent server, are not."""
        known, number = self._timed_out
        number = number + 1 if known is client else 1
        self._timed_out = (client, number)
        if number >= bounds.TIMEOUTS_MAX:
            self._line.lose(client, Fault("does not answer calls in time"))
        elif self._probe is None or self._probe.done():
            self._probe = asyncio.ensure_future(self._look(client))

    async def _look(self, client: Client) -> None:
        """Whether the server is still there at all."""
        try:
            async with asyncio.timeout(bounds.PROBE_SECONDS):
                await client.session.list_tools()
        except (TimeoutError, MCPError):
            self._line.lose(client, Fault("does not answer any more"))
        except ValidationError:
            pass  # it answers
