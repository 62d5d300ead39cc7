"""What was wrong with a connection that has ended, in words of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT
from pydantic import ValidationError

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Fault
from webapp.agent.mcp.http import HTTPTransport
from webapp.agent.mcp.stdio import StdioTransport

_log = logging.getLogger("switchboard.mcp")


def fault_behind(error: BaseException, transport: StdioTransport | HTTPTransport | None) -> Fault:
    """The fault behind an error, in words of ours: a server's own may hold anything."""
    told = transport.fault if transport is not None else None
    for each in _leaves(error):
        match each:
            case Fault():
                return each
            case MCPError(message=words) if bounds.TOO_LONG in words:
                told = Fault(f"says too much: {bounds.TOO_LONG[:1].lower()}{bounds.TOO_LONG[1:-1]}")
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
    if told is None and transport is not None and transport.ended.is_set():
        told = Fault("has ended")
    if told is None:
        _log.debug("an MCP server failed", exc_info=error)
    return told or Fault(f"failed ({type(error).__name__})")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
