"""The tools' page: which are on, what they take, and how their calls went in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.agent.live_tools import ToolBox
from webapp.agent.tools import Tool, Toolkit
from webapp.usage.tool_calls.figures import ToolFigures, tool_figures
from webapp.usage.windows import WINDOWS, Window
from webapp.web.admin.figures.cache import figure_cache
from webapp.web.admin.figures.windows import FRESH_SECONDS, WindowName
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.context import services
from webapp.web.mcp_state import servers_now

_NONE = ToolFigures()


class ToolsQuery(FormShape):
    """The query of the page."""

    window: WindowName = "24h"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument as the model is told of it."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class ShownTool:
    """A tool and how its calls went."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    requires_approval: bool
    timeout: float
    figures: ToolFigures


@dataclass(frozen=True, slots=True)
class ShownKit:
    """A toolkit and its tools."""

    name: str
    tools: tuple[ShownTool, ...]


def tools() -> ResponseReturnValue:
    window = WINDOWS[bind_page(ToolsQuery).window]
    figures = _figures(window)
    kits = _kits(figures)
    on = {tool.name for kit in kits for tool in kit.tools}
    return render_template(
        "admin/tools.html",
        window=window.name,
        window_urls={name: url_for("admin.tools", window=name) for name in WINDOWS},
        kits=kits,
        mcp_servers=servers_now(),
        tool_count=len(on),
        gone=sorted((name, of) for name, of in figures.items() if name not in on),
        calls=sum(each.calls for each in figures.values()),
        errors=sum(each.errors for each in figures.values()),
        timeouts=sum(each.timeouts for each in figures.values()),
    )


def _figures(window: Window) -> Mapping[str, ToolFigures]:
    database, clock = services().database, services().clock

    def count() -> Mapping[str, ToolFigures]:
        now = clock.now_ms()
        return database.read_long(lambda connection: tool_figures(connection, window, now))

    found = figure_cache().get(("tools", window.name), count, seconds=FRESH_SECONDS)
    return found if found is not None else count()


def _kits(figures: Mapping[str, ToolFigures]) -> list[ShownKit]:
    toolkits = services().toolkits
    # As the model is told of them: two servers may have tools of one name.
    told = ToolBox(toolkits).known.tools
    shown = []
    for kit in toolkits:
        own = {
            tool.function for tool in (kit.tools if isinstance(kit, Toolkit) else kit.known_tools)
        }
        tools = (
            _shown(name, tool, figures.get(name, _NONE))
            for name, tool in told.items()
            if tool.function in own
        )
        shown.append(ShownKit(kit.name, tuple(tools)))
    return shown


def _shown(name: str, tool: Tool[..., Any], figures: ToolFigures) -> ShownTool:
    timeout = services().settings.tool_timeout if tool.timeout is None else tool.timeout
    return ShownTool(
        name,
        tool.description,
        _arguments(tool.spec.parameters),
        tool.requires_approval,
        timeout,
        figures,
    )


def _arguments(schema: Mapping[str, Any]) -> tuple[Argument, ...]:
    needed = schema.get("required", ())
    return tuple(
        Argument(name, _type(of), name in needed, str(of.get("description", "")))
        for name, of in schema.get("properties", {}).items()
        if isinstance(of, Mapping)
    )


def _type(schema: Mapping[str, Any]) -> str:
    """The type in a word or two."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    said = schema.get("type", "any" if "anyOf" not in schema else "")
    if isinstance(said, list):
        return " or ".join(map(str, said))
    if not said:
        kinds = [_type(each) for each in schema["anyOf"] if isinstance(each, Mapping)]
        return " or ".join(kinds)
    return str(said)
