"""The tools of MCP servers. The package `mcp` is imported when one is first used."""

from __future__ import annotations

from webapp.agent.mcp.standing import Standing
from webapp.agent.mcp.toolkit import MCPToolkit

__all__ = ["MCPToolkit", "Standing"]
