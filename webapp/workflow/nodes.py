"""What a workflow is made of: `Step`, `Parallel`, `Condition`, `Loop` and `Router`.

They are definitions and never change: any number of runs share them. How they are run is in
running.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from webapp.agent import Agent
from webapp.agent.parts import all_of
from webapp.errors import ConfigurationError
from webapp.workflow.calling import called

MAX_NAME = 64
MAX_ITERATIONS = 1000
MAX_RETRIES = 100
MAX_BRANCHES = 100


class Node:
    """A part of a workflow, with a name that no other part of it has."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = checked_name(name, type(self).__name__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Composition:
    """What a step knows of another workflow that it runs."""

    name: str
    digest: str
    agent: Agent | None
    steps: tuple[Node, ...]


NodeLike: TypeAlias = Node | Agent | Composition | Callable[..., Any]


class Step(Node):
    """Runs an agent, a function or another workflow.

    An agent is asked what the step before gave, or the workflow's input in the first step, or what
    the function `input` makes of the context; it is run for the context's user and session, as
    `agent.run` does, memory included. With `instructions` in the place of an agent, the workflow's
    own agent is asked under these instructions, and remembers nothing of it.

    A function is given the `ExecutionContext` and returns what the step gives: text or another
    JSON value; one that returns None leaves what the step before gave as it is. A workflow is
    given the same as an agent, and the session's state.

    A step that fails is tried again, `retries` times at most; one that takes more than `timeout`
    seconds has failed. A function cannot be stopped: it is left to itself then, and should look at
    `context.cancelled` now and then.
    """

    __slots__ = ("agent", "function", "instructions", "message", "retries", "timeout", "workflow")

    def __init__(
        self,
        name: str,
        run: Agent | Composition | Callable[..., Any] | None = None,
        *,
        agent: Agent | None = None,
        function: Callable[..., Any] | None = None,
        workflow: Composition | None = None,
        instructions: str | None = None,
        input: Callable[..., Any] | None = None,  # noqa: A002 - what it makes is the input
        retries: int = 0,
        timeout: float | None = None,
    ) -> None:
        """`run` is an agent, a workflow or a function, when it is not given by its own name."""
        super().__init__(name)
        if run is not None:
            if isinstance(run, Composition):
                workflow = _one_of(name, workflow, run)
            elif isinstance(run, Agent):
                agent = _one_of(name, agent, run)
            else:
                function = _one_of(name, function, run)
        given = [each for each in (agent, function, workflow, instructions) if each is not None]
        if len(given) != 1:
            raise ConfigurationError(
                f"The step '{name}' needs one of agent=, function=, workflow= and instructions=."
            )
        if agent is not None and not isinstance(agent, Agent):
            raise ConfigurationError(f"agent= of the step '{name}' is not an Agent.")
        if workflow is not None and not isinstance(workflow, Composition):
            raise ConfigurationError(f"workflow= of the step '{name}' is not a Workflow.")
        if instructions is not None and not (_is_text(instructions) and instructions.strip()):
            raise ConfigurationError(f"instructions= of the step '{name}' must be text.")
        if input is not None and function is not None:
            raise ConfigurationError(
                f"The step '{name}' runs a function, which is given the context: leave out input=."
            )
        self.agent = agent
        self.workflow = workflow
        self.instructions = instructions
        self.function = None if function is None else called(function, f"The step '{name}'")
        self.message = None if input is None else called(input, f"input= of the step '{name}'")
        self.retries = _whole(f"retries= of the step '{name}'", retries, 0, MAX_RETRIES)
        if timeout is not None and not (_is_number(timeout) and timeout > 0):
            raise ConfigurationError(f"timeout= of the step '{name}' must be more than 0 seconds.")
        self.timeout = timeout


class Parallel(Node):
    """Runs its steps together, each with a copy of the state of its own.

    Afterwards what they changed in the state is merged in the order of the steps: of two that
    wrote one key, the later one in that order has the last word, whenever it was done. What they
    gave is a dict by their names. When one fails, the others are called off.
    """

    __slots__ = ("steps",)

    def __init__(
        self, *given: Any, name: str | None = None, steps: Iterable[NodeLike] | None = None
    ) -> None:
        """`Parallel("team", [a, b])` or `Parallel(a, b, name="team")`."""
        parts = list(given)
        if name is None and parts and _is_text(parts[0]):
            name = parts.pop(0)
        if len(parts) == 1 and isinstance(parts[0], list | tuple):
            parts = list(parts[0])
        super().__init__(name if name is not None else "parallel")
        self.steps = nodes_of(f"The Parallel '{self.name}'", [*parts, *(steps or ())])
        if len(self.steps) > MAX_BRANCHES:
            raise ConfigurationError(
                f"The Parallel '{self.name}' has more than {MAX_BRANCHES} steps."
            )


class Condition(Node):
    """Runs `steps` when the function `evaluator` says yes, else `else_steps`, one after the other.

    What it decided is kept: a run that is taken up again does not ask twice.
    """

    __slots__ = ("else_steps", "evaluator", "steps")

    def __init__(
        self,
        name: str,
        evaluator: Callable[..., Any],
        steps: Iterable[NodeLike] | NodeLike,
        else_steps: Iterable[NodeLike] | NodeLike = (),
    ) -> None:
        super().__init__(name)
        self.evaluator = called(evaluator, f"evaluator= of the Condition '{name}'")
        self.steps = nodes_of(f"The Condition '{name}'", steps)
        self.else_steps = nodes_of(f"The Condition '{name}'", else_steps, empty=True)


class Loop(Node):
    """Runs its steps again and again, `max_iterations` times at most.

    After each time the function `end_condition` is asked whether it is enough.
    """

    __slots__ = ("end_condition", "max_iterations", "steps")

    def __init__(
        self,
        name: str,
        steps: Iterable[NodeLike] | NodeLike,
        end_condition: Callable[..., Any] | None = None,
        max_iterations: int = 3,
    ) -> None:
        super().__init__(name)
        self.steps = nodes_of(f"The Loop '{name}'", steps)
        what = f"end_condition= of the Loop '{name}'"
        self.end_condition = None if end_condition is None else called(end_condition, what)
        self.max_iterations = _whole(
            f"max_iterations= of the Loop '{name}'", max_iterations, 1, MAX_ITERATIONS
        )


class Router(Node):
    """Runs those of its `choices` that the function `selector` names, one after the other: it
    returns a name, or a list of names."""

    __slots__ = ("choices", "selector")

    def __init__(
        self, name: str, selector: Callable[..., Any], choices: Iterable[NodeLike]
    ) -> None:
        super().__init__(name)
        self.selector = called(selector, f"selector= of the Router '{name}'")
        self.choices = nodes_of(f"The Router '{name}'", choices)


def nodes_of(
    what: str, given: Iterable[NodeLike] | NodeLike, *, empty: bool = False
) -> tuple[Node, ...]:
    """The parts in their order; an agent, a function or a workflow becomes a step of its name."""
    if isinstance(given, Node | Agent | Composition) or callable(given):
        given = [given]
    parts = all_of(f"steps of {what}", given)
    if not parts and not empty:
        raise ConfigurationError(f"{what} has no steps.")
    return tuple(_node(what, part) for part in parts)


def checked_name(name: object, what: str) -> str:
    """The name, if it can be part of a path."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"A {what} needs a name.")
    if len(name) > MAX_NAME or name != name.strip() or not name.isprintable():
        raise ConfigurationError(
            f"The name of a {what} has 1 to {MAX_NAME} printable characters, and no white space at"
            " either end."
        )
    if "/" in name or "[" in name or "]" in name or name in (".", ".."):
        raise ConfigurationError(f"The name '{name}' cannot hold '/', '[' or ']', or be dots.")
    return name


def _node(what: str, part: Any) -> Node:
    if isinstance(part, Node):
        return part
    if isinstance(part, Agent | Composition):
        return Step(part.name, part)
    name = getattr(part, "__name__", "")
    if callable(part) and not isinstance(part, type) and name and name != "<lambda>":
        return Step(name, part)
    raise ConfigurationError(
        f"{what} holds a {type(part).__name__}: give it steps, or functions, agents and workflows"
        " that have names."
    )


def _one_of(name: str, first: Any, second: Any) -> Any:
    if first is not None:
        raise ConfigurationError(f"The step '{name}' is told twice what to run.")
    return second


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(what: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{what} must be a whole number from {least} to {most}.")
    return value
