"""Checks a whole definition, and makes the digest by which a run knows that it is still the same.

The digest holds what a run depends on: the parts, their names, order and bounds, the source of the
functions, and of each agent its name, model, instructions and tools.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from webapp.agent import Agent, Toolkit
from webapp.errors import ConfigurationError
from webapp.workflow.calling import Called
from webapp.workflow.nodes import Condition, Loop, Node, Parallel, Router, Step

MAX_DEPTH = 20


def children(node: Node) -> tuple[Node, ...]:
    """The parts right inside a part; those of another workflow are its own."""
    if isinstance(node, Condition):
        return (*node.steps, *node.else_steps)
    if isinstance(node, Parallel | Loop):
        return node.steps
    return node.choices if isinstance(node, Router) else ()


def all_nodes(nodes: Sequence[Node], depth: int = 1) -> Iterator[Node]:
    """Every part, whatever it is inside of."""
    if depth > MAX_DEPTH:
        raise ConfigurationError(f"A workflow cannot be nested deeper than {MAX_DEPTH} levels.")
    for node in nodes:
        yield node
        yield from all_nodes(children(node), depth + 1)


def require_unique_names(workflow: str, nodes: Sequence[Node]) -> None:
    """`ConfigurationError` when two parts have one name: results are found by it."""
    names: set[str] = set()
    for node in all_nodes(nodes):
        if node.name in names:
            raise ConfigurationError(
                f"The workflow '{workflow}' has two parts named '{node.name}'; each needs a name of"
                " its own."
            )
        names.add(node.name)


def digest_of(name: str, version: str, agent: Agent | None, nodes: Sequence[Node]) -> str:
    """Of a definition. With a `version` the code of functions is not looked at: it says whether
    they are the same."""
    shape = [name, version, _agent_shape(agent), [_shape(node, code=not version) for node in nodes]]
    text = json.dumps(shape, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _shape(node: Node, *, code: bool) -> list[Any]:
    shape: list[Any] = [type(node).__name__, node.name]
    if isinstance(node, Step):
        shape += [node.instructions, node.retries, node.timeout]
        shape += [_agent_shape(node.agent), _code(node.function, code), _code(node.message, code)]
        shape.append(None if node.workflow is None else node.workflow.digest)
    elif isinstance(node, Condition):
        shape += [_code(node.evaluator, code), len(node.steps)]
    elif isinstance(node, Loop):
        shape += [_code(node.end_condition, code), node.max_iterations]
    elif isinstance(node, Router):
        shape.append(_code(node.selector, code))
    return [*shape, [_shape(each, code=code) for each in children(node)]]


def _agent_shape(agent: Agent | None) -> list[Any] | None:
    if agent is None:
        return None
    # Tools that come and go change with their server, and the agent is the same.
    tools = [
        [each.name for each in kit.tools] if isinstance(kit, Toolkit) else [kit.name]
        for kit in agent.toolkits
    ]
    model = getattr(agent.model, "name", agent.model)
    form = agent.output_type
    named = None if form is None else getattr(form, "__qualname__", None) or repr(form)
    return [agent.name, str(model), agent.instructions, agent.max_loops, tools, named]


def _code(given: Called | None, look: bool) -> list[str] | None:
    """A function's name and, unless a version speaks for it, the hash of its source."""
    if given is None:
        return None
    function = inspect.unwrap(given.function)
    while not hasattr(function, "__qualname__") and hasattr(function, "func"):
        function = function.func  # what functools.partial was given
    if not hasattr(function, "__qualname__"):
        function = type(function)
    named = [getattr(function, "__module__", None) or "", function.__qualname__]
    return [*named, hashlib.sha256(_source(function)).hexdigest()] if look else named


def _source(function: Any) -> bytes:
    try:
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return b"" if code is None else _compiled(code)


def _compiled(code: CodeType) -> bytes:
    """What a function does whose source is nowhere, as in a program that was typed in."""
    parts = [code.co_code, repr(code.co_names).encode()]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            parts.append(_compiled(constant))
        elif isinstance(constant, frozenset):  # its order changes from process to process
            parts.append(repr(sorted(map(repr, constant))).encode())
        else:
            parts.append(repr(constant).encode())
    return b"\0".join(parts)
