"""The agent: what it is made of, and its turns for users in memory; the loop is in loop.py."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from webapp.agent.context_window import ContextWindow
from webapp.agent.events import Event, Finished, RunOutput
from webapp.agent.guardrails import Guardrail, Guardrails
from webapp.agent.loop import Turn
from webapp.agent.meter import Meter
from webapp.agent.misuse import asks_for_its_user, explained
from webapp.agent.model import Model, ToolSpec
from webapp.agent.text import check_input
from webapp.agent.tools import Tool, Toolkit, by_name
from webapp.deadline import Deadline
from webapp.errors import ConfigurationError
from webapp.ids import DEFAULT_SESSION, check_session_id, check_user_id
from webapp.memory import InMemory, Memory
from webapp.messages import Message
from webapp.turns import Cancellation, LocalTurnQueue, TurnQueue

T = TypeVar("T")


@explained
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agent:
    """One agent for all users; immutable, so any number of threads may share it.

    It holds no user: who asks is an argument of each run. `dataclasses.replace` makes another
    with, say, changed `instructions`; memory and queue stay shared. A `model` that is text is
    `OpenAIModel(text)`. `max_loops` bounds the calls to the model in one turn,
    `context_max_messages` what each call is sent, instructions included, and `turn_timeout` the
    seconds of a whole turn from the moment its place in the user's line has come: retries, pauses
    and tools do not stretch it. Raises `ConfigurationError` for parts that do not fit, and for a
    model without a key.
    """

    name: str
    # There is no default model; None is here so that leaving it out is answered by a sentence.
    model: Model | str | None = None
    memory: Memory = field(default_factory=InMemory)
    instructions: str = ""
    toolkits: Sequence[Toolkit] = ()
    max_loops: int = 10
    context_max_messages: int = 100
    guardrails: Sequence[Guardrail] = ()
    turn_timeout: float | None = None
    turns: TurnQueue = field(default_factory=LocalTurnQueue, repr=False)
    _model: Model = field(init=False, repr=False)
    _tools: Mapping[str, Tool[..., Any]] = field(init=False, repr=False)
    _specs: tuple[ToolSpec, ...] = field(init=False, repr=False)
    _guards: Guardrails = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not _is_text(self.name) or not self.name.strip():
            raise ConfigurationError("An agent needs a name.")
        if not _is_text(self.instructions):
            raise ConfigurationError("instructions must be text; leave them out for none.")
        _require_whole("max_loops", self.max_loops)
        _require_whole("context_max_messages", self.context_max_messages)
        if self.context_max_messages < (2 if self.instructions else 1):
            raise ConfigurationError(
                "context_max_messages must leave room for the instructions and the question."
            )
        if self.turn_timeout is not None and not self.turn_timeout > 0:
            raise ConfigurationError("turn_timeout must be more than 0 seconds, or None.")
        _require("memory", self.memory, ("add", "get_messages"), "memory=InMemory()")
        _require("turns", self.turns, ("place",), "turns=LocalTurnQueue()")
        toolkits, guardrails = _all("toolkits", self.toolkits), _all("guardrails", self.guardrails)
        tools = by_name(toolkits)
        guards = Guardrails.of(guardrails)
        model = _model(self.name, self.model)
        for name, value in (
            ("model", model),
            ("_model", model),
            ("toolkits", toolkits),
            ("guardrails", guardrails),
            ("_tools", tools),
            ("_specs", tuple(tool.spec for tool in tools.values())),
            ("_guards", guards),
        ):
            object.__setattr__(self, name, value)

    @asks_for_its_user
    def run(
        self,
        input: str,  # noqa: A002 - the name that users of agents know
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
    ) -> RunOutput:
        """One turn of a user, stored whole in memory when it is complete, or else not at all.

        The turns of one user run one at a time in order of arrival, so a tool cannot run its own
        user again: that raises `TurnUnderWay`. Raises `InvalidInput` for a bad id or a blank
        input, `GuardrailRefused`, `ModelTimeout` after `turn_timeout`, and what the model and the
        memory raise. When `cancel` is set, the output's status is `cancelled` and nothing is
        stored.
        """
        return finish(self._turn(input, user_id, session_id, cancel, streaming=False))

    @asks_for_its_user
    def stream(
        self,
        input: str,  # noqa: A002 - as in `run`
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
    ) -> Generator[Event, None, None]:
        """The same turn as events, `Finished` as the last, when the turn is stored already.

        Bad arguments are raised here, everything else while iterating. Closing the iterator
        early abandons the turn: nothing is stored. Where an output guardrail is set, text comes
        only after each whole answer of the model has passed.
        """
        return self._turn(input, user_id, session_id, cancel, streaming=True)

    def play(
        self,
        question: Message,
        history: Sequence[Message],
        *,
        streaming: bool,
        cancel: Cancellation | None = None,
        meter: Meter | None = None,
    ) -> Generator[Event, None, None]:
        """One turn over a given history, `Finished` as the last event; stores nothing.

        The `meter` counts what it uses at the model, also when it fails or is left early.

        Raises `LoopLimitExceeded` when the model still asks for tools in its last allowed
        answer, `MessageTooLong` when the turn does not fit the model even without history,
        `GuardrailRefused`, `ModelTimeout` when `turn_timeout` has passed since this call, and the
        model's own errors.
        """
        window = ContextWindow.of(self.instructions, history, question, self.context_max_messages)
        return Turn(
            model=self._model,
            tools=self._tools,
            specs=self._specs,
            guardrails=self._guards,
            max_loops=self.max_loops,
            window=window,
            messages=[question],
            streaming=streaming,
            cancel=cancel,
            deadline=Deadline.after(self.turn_timeout),
            meter=meter or Meter(),
        ).play()

    def _turn(
        self,
        text: str,
        user_id: str,
        session_id: str,
        cancel: Cancellation | None,
        *,
        streaming: bool,
    ) -> Generator[Event, None, None]:
        check_user_id(user_id)
        check_session_id(session_id)
        check_input(text)
        return self._in_its_place(text, user_id, session_id, cancel, streaming=streaming)

    def _in_its_place(
        self,
        text: str,
        user_id: str,
        session_id: str,
        cancel: Cancellation | None,
        *,
        streaming: bool,
    ) -> Generator[Event, None, None]:
        with self.turns.place(user_id, cancel=cancel) as mine:
            question = Message.user(text)
            if not mine:
                yield Finished(RunOutput(content="", status="cancelled", messages=(question,)))
                return
            history = self.memory.get_messages(user_id=user_id, session_id=session_id)
            with closing(
                self.play(question, history, streaming=streaming, cancel=cancel)
            ) as events:
                for event in events:
                    if not isinstance(event, Finished):
                        yield event
                        continue
                    output = event.output
                    if output.status == "completed":
                        self.memory.add(*output.messages, user_id=user_id, session_id=session_id)
        # The place is free by now: whoever stops reading here must not hold up the next turn.
        yield Finished(output)


def _model(agent: str, given: Model | str | None) -> Model:
    if isinstance(given, str) and given.strip():
        # Imported here because it takes more than a second.
        from webapp.agent.openai_model import OpenAIModel

        return OpenAIModel(given)
    # A class is refused as well: it was written without its parentheses.
    if (
        given is None
        or isinstance(given, str | type)
        or not callable(getattr(given, "complete", None))
    ):
        raise ConfigurationError(
            f"The agent '{agent}' needs a model: pass model=\"gpt-4o-mini\","
            " model=OpenAIModel(…), or one of your own with complete and stream."
        )
    return given


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _require(name: str, value: object, methods: tuple[str, ...], instead: str) -> None:
    if isinstance(value, type):
        raise ConfigurationError(f"{name} is a class: pass {name}={value.__name__}(…).")
    if not all(callable(getattr(value, m, None)) for m in methods):
        raise ConfigurationError(
            f"{name} has no {' and '.join(methods)}: leave it out, or pass {instead}."
        )


def _require_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number, at least 1.")


def _all(name: str, given: Iterable[T]) -> tuple[T, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{name} must be a list: pass {name}=[…], or leave it out.")
    return tuple(given)


def finish(events: Iterator[Event]) -> RunOutput:
    """Runs a turn to its end and gives its output."""
    for event in events:
        if isinstance(event, Finished):
            output = event.output
    return output
