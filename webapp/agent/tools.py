"""Functions that a model may call: how one becomes a tool, and what running it gives."""

from __future__ import annotations

import inspect
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from webapp.agent import docstrings
from webapp.agent.model import ToolSpec
from webapp.agent.run_context import RunContext
from webapp.agent.tool_arguments import Arguments, BadArguments, ToolArguments
from webapp.agent.tool_results import (
    RESULT_MAX_CHARS,
    BadResult,
    collected,
    collected_async,
    cut,
    text_of,
)
from webapp.errors import ConfigurationError, InvalidState, TurnUnderWay
from webapp.storable import storable

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_HERE = PurePath(__file__).parent

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


class LeftRunning:
    """Counts the calls of one tool that nobody waits for any more and that still run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.number = 0

    def add(self, number: int) -> None:
        """So many more, or fewer when it is negative."""
        with self._lock:
            self.number += number


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R]):
    """A function with the name, description and arguments that a model sees; still callable.

    `timeout` bounds one call in seconds; None leaves that to the agent. A call of a tool that
    `requires_approval` is run only when a person has approved it. The function may be asynchronous:
    `run` then runs it on the process's event loop and waits for it.
    """

    name: str
    description: str
    function: Callable[P, R]
    arguments: Arguments = field(repr=False)
    timeout: float | None = None
    requires_approval: bool = False
    left_running: LeftRunning = field(default_factory=LeftRunning, compare=False, repr=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model is told of it."""
        return ToolSpec(self.name, self.description, self.arguments.schema)

    def run(
        self,
        arguments: str,
        context: RunContext | None = None,
        *,
        result_max_chars: int = RESULT_MAX_CHARS,
    ) -> ToolResult:
        """Runs the function on the JSON text that a model wrote; never raises an Exception.

        What waits, `timeout` included, is executor.py's.
        """
        try:
            values: dict[str, Any] = self.arguments.read(arguments, context)
            given = self.function(**values)  # type: ignore[call-arg]  # values by their names
            return ToolResult(
                text_of(_settled(given, context, result_max_chars), result_max_chars), ok=True
            )
        except (BadArguments, ToolError) as fault:
            return failure(cut(str(fault), result_max_chars))
        except BadResult as fault:
            return failure(f"{self.name} {fault}")
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - no tool ends the turn
            return failure(self._what_failed(fault))

    def _what_failed(self, fault: BaseException) -> str:
        from webapp.agent.event_loop import CalledOff, LoopBlocked

        if isinstance(fault, CalledOff):
            return f"{self.name} was called off."
        self._log_failure(fault)
        # These sentences are ours, and without them the mistake would be hard to find.
        if isinstance(fault, TurnUnderWay | InvalidState):
            return f"{self.name} failed: {fault.message}"
        if isinstance(fault, LoopBlocked):
            return (
                f"{self.name} failed: it is asynchronous, and what calls it blocks the event loop"
                " that it runs on; await agent.arun(…) in an asynchronous tool."
            )
        return f"{self.name} failed."

    def _log_failure(self, fault: BaseException) -> None:
        """Logs the tool, the exception's type and line; not its text, which may hold secrets."""
        kind = type(fault).__name__
        place = _place(fault.__traceback__)
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
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    requires_approval: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    requires_approval: bool = False,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a tool of a typed function, plain or `async`, as `@tool` or `@tool(name=…, …)`.

    Without them the name is the function's and the description its docstring's first paragraph;
    parameters are described there, in the style of Google, NumPy, Sphinx or Epydoc, or by
    `Annotated[…, Field(description=…)]`, which goes first. A parameter that is annotated
    `RunContext` is given the run's context, and the model is not told of it.
    A string is given to the model as it is, any other result as JSON. After `timeout` seconds the
    model is told that the call timed out, and the turn goes on. With `requires_approval` the turn
    ends before the call, and goes on when a person has approved or refused it. Raises
    `ConfigurationError` for a function that a model could not call.
    """
    require_seconds("timeout", timeout)

    def make(function: Callable[P, R]) -> Tool[P, R]:
        chosen = name if name is not None else getattr(function, "__name__", "")
        if not NAME.fullmatch(chosen):
            raise ConfigurationError(
                f"The tool name '{chosen}' is not 1 to 64 letters, digits, '_' and '-'."
            )
        told = description if description is not None else docstrings.summary(function)
        arguments = ToolArguments.of(function, chosen)
        return Tool(chosen, told, function, arguments, timeout, requires_approval)

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


def require_seconds(name: str, value: object) -> None:
    """A time-out is None or more than nothing; raises `ConfigurationError`."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
    ):
        raise ConfigurationError(f"{name} must be more than 0 seconds, or None.")


def _settled(given: object, context: RunContext | None, most: int) -> object:
    """The result itself, which an asynchronous function or a generator has yet to make."""
    if not isinstance(given, Awaitable | AsyncIterator):
        return collected(given, most) if isinstance(given, Iterator) else given
    # Imported here because most agents have no asynchronous tool.
    from webapp.agent.event_loop import for_coroutines

    waiting = collected_async(given, most) if isinstance(given, AsyncIterator) else _of(given)
    cancelled = None if context is None else lambda: context.cancelled
    try:
        return for_coroutines().run(lambda: waiting, cancelled)
    finally:
        for each in (waiting, given):
            if inspect.iscoroutine(each) and inspect.getcoroutinestate(each) == "CORO_CREATED":
                each.close()  # Python warns of one that never began


async def _of(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _place(trace: TracebackType | None) -> str | None:
    """The file and line of the tool's own code at which it failed."""
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if trace is None:
        return None
    return f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _is_ours(file: str) -> bool:
    path = PurePath(file)
    return path.parent == _HERE or path.parts[-3:-1] == ("concurrent", "futures")
