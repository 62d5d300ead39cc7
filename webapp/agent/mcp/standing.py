"""How a server is, as its toolkit, the console and others see it; and how that changes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from webapp.agent.mcp.faults import Away
from webapp.agent.tools import Tool

_log = logging.getLogger("switchboard.mcp")

State = Literal["idle", "starting", "connected", "lost", "away"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server is: since when, in milliseconds since 1970-01-01 UTC, and what is wrong with it.

    `idle` until its tools are asked for, `starting` until the first try has ended, then
    `connected`; `lost` from the end of a connection to the end of the next try, and `away` when
    that has failed. `fault` is the end of a sentence that begins with the server's name, and
    `last_fault` the last one that there was. `faults` are whole sentences about tools that cannot
    be used as they are. `tools` are those that it has, or had when it was there last.
    """

    state: State = "idle"
    since_ms: int = 0
    fault: str = ""
    last_fault: str = ""
    tools: tuple[Tool[..., Any], ...] = ()
    faults: tuple[str, ...] = ()

    @classmethod
    def starting(cls) -> Standing:
        return cls("starting", now_ms())

    @property
    def usable(self) -> bool:
        """Whether an agent is told of the tools. A server that was there until now is about to be
        there again."""
        return self.state in ("connected", "lost")

    def connected(
        self, name: str, tools: tuple[Tool[..., Any], ...], faults: tuple[str, ...]
    ) -> Standing:
        """What follows when the server has told its tools."""
        if self.state != "connected":
            tell(logging.INFO, name, f"is connected and has {len(tools)} tools.")
        if faults and faults != self.faults:
            tell(logging.WARNING, name, f"has faults in its list of tools: {' '.join(faults)}")
        since = self.since_ms if self.state == "connected" else now_ms()
        return Standing("connected", since, "", self.last_fault, tools, faults)

    def without(self, name: str, away: Away) -> Standing:
        """What follows when there is no connection."""
        fault, state = str(away.fault), _LOST if away.lost else _AWAY
        if (state, fault) != (self.state, self.fault):
            tell(logging.WARNING, name, f"is {state}: it {fault}.")
        since = self.since_ms if self.state == state else now_ms()
        return Standing(state, since, fault, fault, self.tools, self.faults)


_LOST: State = "lost"
_AWAY: State = "away"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tell(level: int, server: str, sentence: str) -> None:
    """A line of the log."""
    # In the text as well as in fields: logging as Python sets it up shows the text alone.
    _log.log(level, "MCP server %s %s", server, sentence, extra={"mcp_server": server})
