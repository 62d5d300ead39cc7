"""What an application adds to the served agent: toolkits, guardrails, workflows, named in settings.

Each may have a name: one that comes with Switchboard, or that an installed package brings as an
entry point of the group `switchboard.toolkits` or `switchboard.guardrails`. A path such as
`my_package.tools:toolkit` names the thing itself, a list of them, or a function or class that is
called without arguments and gives them. What they do is in agent/.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from webapp.agent import Guardrail, Toolkit
from webapp.agent.guardrails.checks import Guardrails, is_guardrail
from webapp.agent.live_tools import LiveToolkit, ToolBox, is_live
from webapp.errors import ConfigurationError
from webapp.listed_parts import parts_of
from webapp.named_guardrails import NAMES, named_guardrail
from webapp.workflow import Workflow

GROUP = "switchboard.toolkits"

BuiltIn = Mapping[str, Callable[[], Toolkit]]
AnyToolkit = Toolkit | LiveToolkit


@dataclass(frozen=True, slots=True)
class Extensions:
    """The toolkits and guardrails of the served agent, checked."""

    toolkits: tuple[AnyToolkit, ...]
    guardrails: tuple[Guardrail, ...]


def extensions_of(
    toolkit_paths: Sequence[str],
    guardrails_named: Sequence[str],
    *,
    toolkits: Iterable[AnyToolkit] | None = None,
    guardrails: Iterable[Guardrail] | None = None,
    built_in: BuiltIn,
    beside: Callable[[], Sequence[LiveToolkit]] = tuple,
) -> Callable[[], Extensions]:
    """Imports what is named when it is first called; what is handed in goes before it.

    `built_in` makes the toolkits that come with Switchboard, by their names, and `beside` those
    that are there in any case.

    Commands that run no turn need not import it. Calling it raises `ConfigurationError`, a
    sentence for what cannot be imported, is of another kind, or bears another's name.
    """

    @functools.cache
    def load() -> Extensions:
        tools = _given("toolkits", toolkits, _is_toolkit)
        if tools is None:
            tools = _toolkits(toolkit_paths, built_in)
        tools = (*tools, *beside())
        ToolBox(tools)  # looks at the names
        guards = _given("guardrails", guardrails, is_guardrail)
        if guards is None:
            guards = tuple(each for text in guardrails_named for each in _guardrails(text))
        Guardrails.of(guards)
        return Extensions(tools, guards)

    return load


def workflows_of(
    named: Sequence[str], workflows: Iterable[Workflow] | None = None
) -> Callable[[], Mapping[str, Workflow]]:
    """Imports the workflows that are named when it is first called; those handed in go in their
    place. Calling it raises `ConfigurationError`, as `extensions_of` does."""

    @functools.cache
    def load() -> Mapping[str, Workflow]:
        found = _given("workflows", workflows, _is_workflow)
        if found is None:
            paths = [name if ":" in name else _workflow_of_package(name) for name in named]
            found = _imported(WORKFLOWS, paths, _is_workflow, "workflow")
        by_its_name: dict[str, Workflow] = {}
        for workflow in found:
            if workflow.name in by_its_name:
                raise ConfigurationError(f"Two workflows have the name '{workflow.name}'.")
            by_its_name[workflow.name] = workflow
        return MappingProxyType(by_its_name)

    return load


def _is_workflow(value: object) -> bool:
    return isinstance(value, Workflow)


def _workflow_of_package(name: str) -> str:
    """The import path of the workflow that an installed package brings under a name."""
    for entry in entry_points(group=WORKFLOW_GROUP, name=name):
        return _path_of(entry)
    raise ConfigurationError(
        f"{WORKFLOWS} is wrong: no installed package brings a workflow named {name!r} (entry points"
        f" {WORKFLOW_GROUP}); name an import path, such as my_package.flows:support."
    )


WORKFLOWS = "SWITCHBOARD_WORKFLOWS"
WORKFLOW_GROUP = "switchboard.workflows"
GUARDRAILS = "SWITCHBOARD_GUARDRAILS"
GUARDRAIL_GROUP = "switchboard.guardrails"
Fits = Callable[[object], bool]


def _toolkits(names: Sequence[str], built_in: BuiltIn) -> tuple[AnyToolkit, ...]:
    found: list[AnyToolkit] = []
    for name in names:
        if name in built_in:
            found.append(built_in[name]())
        else:
            path = name if ":" in name else _entry_point(name, built_in)
            found += _imported("SWITCHBOARD_TOOLKITS", [path], _is_toolkit, "toolkit")
    return tuple(found)


def _entry_point(name: str, built_in: BuiltIn) -> str:
    """The import path of the toolkit that an installed package brings under a name."""
    brought = entry_points(group=GROUP)
    for each in brought.select(name=name):
        return _path_of(each)
    known = ", ".join([*built_in, *sorted(brought.names - built_in.keys())])
    raise ConfigurationError(
        f"SWITCHBOARD_TOOLKITS is wrong: there is no toolkit named {name!r}; there are {known}, and"
        " import paths such as my_package.tools:toolkit."
    )


def _path_of(entry: EntryPoint) -> str:
    """Without the extras that it may name."""
    return entry.value.partition("[")[0].replace(" ", "")


def _is_toolkit(value: object) -> bool:
    return isinstance(value, Toolkit) or is_live(value)


def _guardrails(text: str) -> tuple[Guardrail, ...]:
    """What one entry of SWITCHBOARD_GUARDRAILS names."""
    (part,) = parts_of(text)
    is_path = ":" in part.name
    try:
        built_in = None if is_path else named_guardrail(part)
    except ConfigurationError as fault:
        raise ConfigurationError(f"{GUARDRAILS} is wrong: {fault.message}") from None
    if built_in is not None:
        return (built_in,)
    if part.has_parameters:
        raise ConfigurationError(
            f"{GUARDRAILS} is wrong: {part.name} takes no parameters; those have"
            f" {', '.join(NAMES)}."
        )
    if is_path:
        return _imported(GUARDRAILS, (part.name,), is_guardrail, "guardrail")
    for entry in entry_points(group=GUARDRAIL_GROUP, name=part.name):
        return _imported(GUARDRAILS, (_path_of(entry),), is_guardrail, "guardrail")
    raise ConfigurationError(
        f"{GUARDRAILS} is wrong: there is no guardrail {part.name!r}; there are"
        f" {', '.join(NAMES)}, those of installed packages (entry points {GUARDRAIL_GROUP}), and"
        " import paths such as my_package.checks:polite."
    )


def _given(name: str, values: Iterable[Any] | None, fits: Fits) -> tuple[Any, ...] | None:
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name} must be a list: pass {name}=[…].")
    found = tuple(values)
    for value in found:
        if not fits(value):
            raise ConfigurationError(f"{name} holds a {type(value).__name__}: {_WANTED[name]}")
    return found


_WANTED = {
    "workflows": 'a workflow is a Workflow("name", [step, …]).',
    "toolkits": 'put functions into a Toolkit("name", [function, …]).',
    "guardrails": "a guardrail has a name and check_input, check_output or check_tool_result.",
}


def _imported(variable: str, paths: Sequence[str], fits: Fits, kind: str) -> tuple[Any, ...]:
    found: list[Any] = []
    for path in paths:
        value = _value_at(variable, path)
        if not fits(value) and callable(value):
            value = _called(variable, path, value)
        values = value if isinstance(value, list | tuple) else [value]
        for each in values:
            if not fits(each):
                raise ConfigurationError(
                    f"{variable} is wrong: {path} is of the type {type(each).__name__}"
                    f" and no {kind}; {_WANTED[f'{kind}s']}"
                )
        found += values
    return tuple(found)


def _value_at(variable: str, path: str) -> object:
    """The object at an import path. The current folder is searched first, as by `python -m`."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    module_name, _, names = path.partition(":")
    try:
        value: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise _fails(variable, f"importing {module_name}", error) from error
        raise ConfigurationError(
            f"{variable} is wrong: there is no module {missing!r}, neither installed nor in the"
            " current folder."
        ) from error
    except (Exception, SystemExit) as error:  # whatever its code raises
        raise _fails(variable, f"importing {module_name}", error) from error
    for name in names.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise ConfigurationError(
                f"{variable} is wrong: {module_name} has no {names!r}."
            ) from error
    return value


def _called(variable: str, path: str, make: Callable[[], object]) -> object:
    try:
        return make()
    except (Exception, SystemExit) as error:  # whatever its code raises
        raise _fails(variable, f"calling {path}", error) from error


def _fails(variable: str, what: str, error: BaseException) -> ConfigurationError:
    """The operator's own code failed: its words and its place are what mends it."""
    words = str(error).partition("\n")[0]
    told = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return ConfigurationError(f"{variable} is wrong: {what} failed with {told}{_place(error)}.")


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({PurePath(error.filename).name}, line {error.lineno})"
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if trace.tb_frame.f_globals.get("__name__") != __name__ and "importlib" not in file:
            place = f" ({PurePath(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
