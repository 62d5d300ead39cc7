"""The tools of a server as it lists them: which can be used, and what is wrong with the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from webapp.agent.live_tools import TOOLS_MAX, fitting_name
from webapp.agent.mcp import bounds
from webapp.agent.mcp.arguments import SchemaArguments, schema_of
from webapp.agent.mcp.faults import Fault
from webapp.agent.mcp.server import Use
from webapp.agent.mcp.sieve import shown
from webapp.storable import storable


@dataclass(frozen=True, slots=True)
class Listed:
    """One tool: its name at the server, and what a model is told of it."""

    remote: str
    name: str
    description: str
    arguments: SchemaArguments = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools that can be used, and a sentence for each thing that is wrong."""

    tools: tuple[Listed, ...] = ()
    faults: tuple[str, ...] = ()


def listing_of(tools: Iterable[Any], use: Use, left_out: Sequence[str] = ()) -> Listing:
    """`tools` are those of the `mcp` package; of others it says in sentences why they are none."""
    until = time.monotonic() + bounds.CHECK_SECONDS
    found: dict[str, Listed] = {}
    faults = list(left_out)
    wanted = [tool for tool in tools if _is_wanted(tool.name, use)]
    for tool in wanted[:TOOLS_MAX]:
        name = fitting_name(use.prefix + tool.name)
        try:
            if name in found:
                raise Fault("is there twice")
            found[name] = _listed(tool, name, faults, check=time.monotonic() < until)
        except Fault as fault:
            faults.append(f"{shown(tool.name)} {fault}, and is left out.")
    if len(wanted) > TOOLS_MAX:
        faults.append(
            f"It has {len(wanted)} tools; the first {TOOLS_MAX} are used. Name those that you want."
        )
    if use.include:
        there = {tool.name for tool in wanted}
        faults += [f"It has no tool {shown(name)}." for name in sorted(use.include - there)]
    return Listing(tuple(found.values()), _bounded(faults))


def _bounded(faults: Sequence[str]) -> tuple[str, ...]:
    """The first of them; a server may have any number."""
    more = len(faults) - bounds.FAULTS_TOLD
    return (*faults[: bounds.FAULTS_TOLD], *([f"And {more} more."] if more > 0 else []))


def _is_wanted(name: str, use: Use) -> bool:
    return name not in use.exclude and (use.include is None or name in use.include)


def _listed(tool: Any, name: str, faults: list[str], *, check: bool) -> Listed:
    if tool.execution is not None and tool.execution.task_support == "required":
        raise Fault("runs as a task alone, which is not possible here")
    description = storable(tool.description or tool.title or "")
    if len(description) > bounds.DESCRIPTION_MAX_CHARS:
        faults.append(
            f"The description of {shown(tool.name)} has {len(description):,} characters; its first"
            f" {bounds.DESCRIPTION_MAX_CHARS:,} are used."
        )
        description = description[: bounds.DESCRIPTION_MAX_CHARS - 1] + "…"
    return Listed(tool.name, name, description, schema_of(name, tool.input_schema, check=check))
