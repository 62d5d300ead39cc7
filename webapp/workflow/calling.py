"""How a step's function is called: what it asks for is told by the types of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_type_hints

from webapp.agent import RunContext
from webapp.agent.event_loop import SHARED, CalledOff
from webapp.agent.tools import LeftRunning
from webapp.errors import ConfigurationError, StepTimeout
from webapp.session_state import SessionState
from webapp.workflow.context import ExecutionContext

Function: TypeAlias = Callable[..., Any]

_Maker: TypeAlias = Callable[[ExecutionContext, RunContext], Any]


@dataclass(frozen=True, slots=True)
class Called:
    """A function with what its parameters are given, in their order; `left_running` counts its
    calls that nobody waits for any more."""

    function: Function
    positional: tuple[_Maker, ...]
    named: tuple[tuple[str, _Maker], ...]
    asynchronous: bool = False
    left_running: LeftRunning = field(default_factory=LeftRunning, compare=False, repr=False)

    def __call__(self, context: ExecutionContext, run: RunContext) -> Any:
        """What the function gives; an asynchronous one runs on the process's event loop, and is
        cancelled there when the step is."""
        given = [make(context, run) for make in self.positional]
        named = {name: make(context, run) for name, make in self.named}
        if not self.asynchronous:
            return self.function(*given, **named)
        try:
            return SHARED.run(lambda: self.function(*given, **named), lambda: context.cancelled)
        except CalledOff as error:
            raise StepTimeout("It did not come to its end in time.") from error


def called(function: object, what: str) -> Called:
    """Looks at the function's parameters; `ConfigurationError` when one cannot be given.

    A parameter of the type `ExecutionContext`, or one without a type, is given the context, one of
    the type `RunContext` the run as tools know it, `SessionState` the state, and `str` what the
    step before gave, as text. Those with a default are left alone.
    """
    if not callable(function) or isinstance(function, type):
        raise ConfigurationError(f"{what} must be a function.")
    if _is(function, inspect.isasyncgenfunction) or _is(function, inspect.isgeneratorfunction):
        raise ConfigurationError(f"{what} must return its result, and not yield it.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of those that are written in C
        return Called(function, (_context,), ())
    hints = _hints_of(function)
    positional: list[_Maker] = []
    named: list[tuple[str, _Maker]] = []
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is not parameter.empty:
            continue
        make = _maker(hints.get(parameter.name, parameter.annotation))
        if make is None or (make is _context and _context in positional):
            raise ConfigurationError(
                f"{what} has the parameter '{parameter.name}', which nothing fills: a step's"
                " function is given an ExecutionContext, and on request, by type, a RunContext, the"
                " SessionState, or the text of the step before as str."
            )
        if parameter.kind is parameter.KEYWORD_ONLY:
            named.append((parameter.name, make))
        else:
            positional.append(make)
    asynchronous = _is(function, inspect.iscoroutinefunction)
    return Called(function, tuple(positional), tuple(named), asynchronous)


def _maker(annotation: object) -> _Maker | None:
    if annotation is inspect.Parameter.empty or annotation in (ExecutionContext, Any):
        return _context
    if annotation is RunContext:
        return lambda _context, run: run
    if annotation is SessionState:
        return lambda context, _run: context.session_state
    if annotation is str:
        return lambda context, _run: context.text
    return None


def _context(context: ExecutionContext, _run: RunContext) -> ExecutionContext:
    return context


def _is(function: Callable[..., Any], check: Callable[[object], bool]) -> bool:
    """Whether the function, or what calling the object runs, is of that kind."""
    return check(function) or check(getattr(function, "__call__", None))  # noqa: B004 - as above


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError):
        return {}  # a type that is imported for type checkers alone, or no function
