"""How the MCP servers are in all workers of this server, whichever of them is asked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from webapp.agent import MCPToolkit
from webapp.agent.live_tools import Offer, ToolBox
from webapp.agent.mcp.server import StdioServer
from webapp.agent.mcp.standing import State
from webapp.readiness import Finding
from webapp.redaction import redacted_url
from webapp.web import context, request_counts
from webapp.worker_figures import OwnFigures, WorkerFigures

if TYPE_CHECKING:
    from webapp.services import Services

STATES: tuple[State, ...] = ("idle", "connected", "starting", "lost", "away")  # the worst is last
_STATE, _SINCE, _TOOLS = "mcp_state", "mcp_since", "mcp_tools"


def note(figures: OwnFigures, kits: Sequence[MCPToolkit]) -> None:
    """Notes how the servers are in this worker."""
    for kit in kits:
        standing, name = kit.standing, _key(kit)
        figures.gauge((_STATE, name), STATES.index(standing.state))
        figures.gauge((_SINCE, name), standing.since_ms)
        figures.gauge((_TOOLS, name), len(standing.tools) if standing.usable else 0)


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """One server: its worst state in any worker, since when, and in how many of how many workers
    it is connected. What is wrong, and its tools, are as this worker knows them."""

    name: str
    place: str
    state: State
    since_ms: int
    connected: int
    of: int
    fault: str
    last_fault: str
    tools: tuple[str, ...]
    notes: tuple[str, ...]


def servers_now() -> list[ServerFigures]:
    """All of them, in the order of the settings."""
    services: Services = current_app.extensions[context.EXTENSION]
    own: OwnFigures = current_app.extensions[request_counts.EXTENSION]
    kits = services.mcp_toolkits
    if not kits:
        return []
    note(own, kits)
    known = ToolBox(services.toolkits).known
    return [_figures(kit, own.all, known) for kit in kits]


def finding() -> Mapping[str, Finding]:
    """How they are altogether; without their names, because anybody may ask."""
    servers = servers_now()
    if not servers:
        return {}
    away = sum(server.state == "away" for server in servers)
    if not away:
        return {"mcp_servers": Finding()}
    return {
        "mcp_servers": Finding(
            "away",
            f"{away} of the {len(servers)} MCP servers {'is' if away == 1 else 'are'} away, in some"
            " worker or all; turns go on without the tools.",
        )
    }


def _figures(kit: MCPToolkit, figures: WorkerFigures, known: Offer) -> ServerFigures:
    name, standing = _key(kit), kit.standing
    own = {tool.function for tool in standing.tools}
    living = [worker.gauges for worker in figures.living()]
    states = [STATES[int(gauges.get((_STATE, name), 0))] for gauges in living]
    worst = max(states, key=STATES.index, default=standing.state)
    since = [
        int(gauges[(_SINCE, name)])
        for gauges, state in zip(living, states, strict=True)
        if state == worst and (_SINCE, name) in gauges
    ]
    return ServerFigures(
        name=kit.name,
        place=_place(kit),
        state=worst,
        since_ms=min(since, default=standing.since_ms),
        connected=states.count("connected"),
        of=len(states),
        fault=standing.fault,
        last_fault=standing.last_fault,
        tools=tuple(name for name, tool in known.tools.items() if tool.function in own),
        notes=(*standing.faults, *(each for each in known.left_out if f" of {kit.name} " in each)),
    )


def _place(kit: MCPToolkit) -> str:
    """The program without its arguments, which may hold secrets, or the address without them."""
    server = kit.server
    return (
        shlex.quote(server.command) if isinstance(server, StdioServer) else redacted_url(server.url)
    )


def _key(kit: MCPToolkit) -> str:
    return " ".join(kit.name.split())
