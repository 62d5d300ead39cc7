"""Functions that a model may call: how one becomes a tool, and what running it gives."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic_core import PydanticSerializationError, to_json

from webapp.agent import docstrings
from webapp.agent.model import ToolSpec
from webapp.agent.run_context import RunContext
from webapp.agent.tool_arguments import BadArguments, ToolArguments
from webapp.errors import ConfigurationError, TurnUnderWay
from webapp.storable import storable

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_log = logging.getLogger(__name__)


class ToolError(Exception):
    """Raised by a tool to tell the model what went wrong; the text reaches the model as it is.

    Of any other exception the model learns only that the tool failed, since its text may hold
    secrets.
    """


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a call: a result, or a sentence that begins with `Error:`."""

    content: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R]):
    """A function with the name, description and arguments that a model sees; still callable."""

    name: str
    description: str
    function: Callable[P, R]
    arguments: ToolArguments = field(repr=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        return ToolSpec(self.name, self.description, self.arguments.schema)

    def run(self, arguments: str, context: RunContext | None = None) -> ToolResult:
        """Runs the function on the JSON text that a model wrote; never raises an Exception."""
        try:
            values: dict[str, Any] = self.arguments.read(arguments, context)
            return ToolResult(_as_text(self.function(**values)), ok=True)  # type: ignore[call-arg]
        except (BadArguments, ToolError) as fault:
            return failure(str(fault))
        except PydanticSerializationError:
            return failure(f"{self.name} gave a result that is neither text nor JSON.")
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - no tool ends the turn
            self._log_failure(fault)
            # That sentence is ours, and without it the mistake would be hard to find.
            why = f": {fault.message}" if isinstance(fault, TurnUnderWay) else "."
            return failure(f"{self.name} failed{why}")

    def _log_failure(self, fault: BaseException) -> None:
        """Logs the tool, the exception's type and line; not its text, which may hold secrets."""
        kind = type(fault).__name__
        frame = fault.__traceback__.tb_next if fault.__traceback__ else None
        place = (
            f"{PurePath(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
            if frame
            else None
        )
        # In the text as well as in fields: logging as Python sets it up shows the text alone.
        _log.warning(
            "tool failed: %s raised %s%s",
            self.name,
            kind,
            f" at {place}" if place else "",
            extra={"tool": self.name, "error_type": kind, "place": place},
        )
        _log.debug("tool failed", exc_info=fault)


def failure(sentence: str) -> ToolResult:
    """A result that tells the model of a fault."""
    return ToolResult(storable(f"Error: {sentence}"), ok=False)


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a tool of a typed function, as `@tool` or `@tool(name=…, description=…)`.

    Without them the name is the function's and the description its docstring's first paragraph;
    parameters are described there, in the style of Google, NumPy, Sphinx or Epydoc, or by
    `Annotated[…, Field(description=…)]`, which goes first. A parameter that is annotated
    `RunContext` is given the run's context, and the model is not told of it.
    A string is given to the model as it is, any other result as JSON. Raises
    `ConfigurationError` for a function that a model could not call.
    """

    def make(function: Callable[P, R]) -> Tool[P, R]:
        chosen = name if name is not None else getattr(function, "__name__", "")
        if not NAME.fullmatch(chosen):
            raise ConfigurationError(
                f"The tool name '{chosen}' is not 1 to 64 letters, digits, '_' and '-'."
            )
        told = description if description is not None else docstrings.summary(function)
        return Tool(chosen, told, function, ToolArguments.of(function, chosen))

    return make if function is None else make(function)


@dataclass(frozen=True, slots=True)
class Toolkit:
    """Tools that belong together; plain functions become tools."""

    name: str
    functions: Sequence[Callable[..., Any]]
    tools: tuple[Tool[..., Any], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigurationError("A toolkit needs a name.")
        object.__setattr__(self, "functions", tuple(self.functions))
        object.__setattr__(self, "tools", tuple(_as_tool(each) for each in self.functions))


def by_name(toolkits: Sequence[Toolkit]) -> Mapping[str, Tool[..., Any]]:
    """All tools; raises `ConfigurationError` when two have one name."""
    found: dict[str, Tool[..., Any]] = {}
    for toolkit in toolkits:
        if not isinstance(toolkit, Toolkit):
            raise ConfigurationError("Tools are given to an agent in a Toolkit(name, functions).")
        for each in toolkit.tools:
            if each.name in found:
                raise ConfigurationError(f"Two tools have the name '{each.name}'.")
            found[each.name] = each
    return found


def _as_tool(function: Callable[..., Any]) -> Tool[..., Any]:
    if isinstance(function, Tool):
        return function
    if inspect.isclass(function) or not inspect.isroutine(function):
        raise ConfigurationError(f"{function!r} is not a function that can be a tool.")
    return tool(function)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return storable(value)
    return to_json(value, inf_nan_mode="strings").decode()
