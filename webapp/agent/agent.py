"""The agent: what it is made of, and its turns for users in a memory; how a turn is played is in
turn.py, the loop of model and tools in loop.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self, cast

from webapp.agent.approvals import Approval, Resumption
from webapp.agent.context_window import ContextWindow
from webapp.agent.events import Event, Finished, RunOutput
from webapp.agent.executor import ToolLimits
from webapp.agent.guardrails import Guardrail, Guardrails
from webapp.agent.live_tools import LiveToolkit, ToolBox
from webapp.agent.loop import Loop
from webapp.agent.memory_turn import MemoryTurn, state_in
from webapp.agent.misuse import asks_for_its_user, explained
from webapp.agent.model import Model
from webapp.agent.parts import all_of, checked_model, is_text, require_methods, require_whole
from webapp.agent.paused_turns import InMemoryPausedTurns, PausedTurns
from webapp.agent.run_context import RunContext
from webapp.agent.structured.drafts import Drafts
from webapp.agent.structured.python_types import wanted_type
from webapp.agent.structured.wanted import Wanted
from webapp.agent.summarizing import Summarizing
from webapp.agent.text import check_input
from webapp.agent.tokens import TokenBudget, TokenCounter, most_tokens_in
from webapp.agent.tool_results import RESULT_MAX_CHARS
from webapp.agent.tools import Toolkit, require_seconds
from webapp.agent.turn import Started, TurnEvent, play_turn
from webapp.deadline import Deadline
from webapp.errors import ConfigurationError
from webapp.ids import DEFAULT_SESSION, check_session_id, check_user_id
from webapp.memory import InMemory, Memory, Summary
from webapp.messages import Message
from webapp.turns import Cancellation, LocalTurnQueue, TurnQueue


@explained
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agent:
    """One agent for all users; immutable, so any number of threads may share it.

    It holds no user: the user is an argument of each run. `dataclasses.replace` makes another with,
    say, changed `instructions`; memory and queue stay shared. A `model` that is text is
    `OpenAIModel(text)`. `max_loops` bounds the calls to the model in one turn,
    `context_max_messages` what each call is sent, instructions included, `context_max_tokens` the
    same in tokens as `token_counter` counts them (0 sets no bound); with `summarize` the model is
    told in a summary, which it makes itself, what is left out by them. `turn_timeout` bounds the
    seconds of a whole turn from the moment its place in the user's line has come: retries, pauses
    and tools do not stretch it. `tool_timeout` bounds each call of a tool that has no time-out of
    its own, in seconds, and `tool_result_max_chars` what the model is given of its result.
    `output_type` is the type of every answer: what pydantic can check, or a JSON Schema as a dict;
    the output then has the value as `parsed`. `close`, or a `with` block, closes the connections of
    a model that the agent has made from its name, and of toolkits such as `MCPToolkit`; a model
    that was handed in is its maker's to close. Raises `ConfigurationError` for parts that do not
    fit, and for a model without a key.
    """

    name: str
    # There is no default model; None is here so that leaving it out is answered by a sentence.
    model: Model | str | None = None
    memory: Memory = field(default_factory=InMemory)
    instructions: str = ""
    toolkits: Sequence[Toolkit | LiveToolkit] = ()
    max_loops: int = 10
    context_max_messages: int = 100
    context_max_tokens: int = 0
    token_counter: TokenCounter = most_tokens_in
    summarize: bool = False
    guardrails: Sequence[Guardrail] = ()
    turn_timeout: float | None = None
    tool_timeout: float | None = None
    tool_result_max_chars: int = RESULT_MAX_CHARS
    output_type: Any = None
    turns: TurnQueue = field(default_factory=LocalTurnQueue, repr=False)
    paused_turns: PausedTurns = field(default_factory=InMemoryPausedTurns, repr=False)
    _model: Model = field(init=False, repr=False)
    _own_model: bool = field(init=False, repr=False)
    _tools: ToolBox = field(init=False, repr=False)
    _guards: Guardrails = field(init=False, repr=False)
    _wanted: Wanted | None = field(init=False, repr=False)
    _budget: TokenBudget | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not is_text(self.name) or not self.name.strip():
            raise ConfigurationError("An agent needs a name.")
        if not is_text(self.instructions):
            raise ConfigurationError("instructions must be text; leave them out for none.")
        require_whole("max_loops", self.max_loops)
        require_whole("context_max_messages", self.context_max_messages)
        if self.context_max_messages < (2 if self.instructions else 1):
            raise ConfigurationError(
                "context_max_messages must leave room for the instructions and the question."
            )
        if self.turn_timeout is not None and not self.turn_timeout > 0:
            raise ConfigurationError("turn_timeout must be more than 0 seconds, or None.")
        require_seconds("tool_timeout", self.tool_timeout)
        require_whole("tool_result_max_chars", self.tool_result_max_chars)
        require_methods("memory", self.memory, ("add", "get_messages"), "memory=InMemory()")
        require_methods("turns", self.turns, ("place",), "turns=LocalTurnQueue()")
        if self.summarize:
            require_methods(
                "memory", self.memory, ("get_summary", "put_summary"), "memory=InMemory()"
            )
        toolkits, guardrails = (
            all_of("toolkits", self.toolkits),
            all_of("guardrails", self.guardrails),
        )
        tools = ToolBox(toolkits)
        guards = Guardrails.of(guardrails)
        model = checked_model(self.name, self.model)
        for name, value in (
            ("model", model),
            ("_model", model),
            ("_own_model", model is not self.model),
            ("toolkits", toolkits),
            ("guardrails", guardrails),
            ("_tools", tools),
            ("_guards", guards),
            ("_wanted", wanted_type(self.output_type)),
            ("_budget", self._token_budget()),
        ):
            object.__setattr__(self, name, value)

    @asks_for_its_user
    def run(
        self,
        input: str = "",  # noqa: A002 - the name that users of agents know
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
        idempotency_key: str = "",
        approvals: Sequence[Approval] = (),
        output_type: Any = None,
    ) -> RunOutput:
        """One turn of a user, stored whole in memory when it is complete, or else not at all.

        The turns of one user run one at a time in order of arrival, so a tool cannot run its own
        user again: that raises `TurnUnderWay`. Raises `InvalidInput` for a bad id or a blank
        input, `GuardrailRefused`, `ModelTimeout` after `turn_timeout`, and what the model and the
        memory raise. When `cancel` is set, the output's status is `cancelled` and nothing is
        stored. `idempotency_key` names the request, so that its tools' calls have the same keys
        when it is tried again after a failure. Where a tool needs approval the output's status is
        `paused`, and the next run of that session goes on with the turn: `approvals` say what was
        decided about its `pending_calls`, and need no input; an input refuses the others; raises
        `ApprovalNotFound` for other calls. `output_type` takes the place of the agent's own for
        this turn (`str` for plain text); raises `AnswerInvalid` when the model gives no such answer
        in a few tries.
        """
        begin = self._asked(
            input, user_id, session_id, idempotency_key, approvals, output_type, streaming=False
        )
        return finish(begin(self.turns, cancel))

    @asks_for_its_user
    def stream(
        self,
        input: str = "",  # noqa: A002 - as in `run`
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
        idempotency_key: str = "",
        approvals: Sequence[Approval] = (),
        output_type: Any = None,
    ) -> Generator[Event, None, None]:
        """The same turn as events, `Finished` as the last, when the turn is stored already.

        Bad arguments are raised here, everything else while iterating. Closing the iterator
        early abandons the turn: nothing is stored. Where an output guardrail is set, text comes
        only after each whole answer of the model has passed; with an `output_type` only that of
        the good answer, its JSON.
        """
        begin = self._asked(
            input, user_id, session_id, idempotency_key, approvals, output_type, streaming=True
        )
        return begin(self.turns, cancel)

    @asks_for_its_user
    async def arun(
        self,
        input: str = "",  # noqa: A002 - as in `run`
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
        idempotency_key: str = "",
        approvals: Sequence[Approval] = (),
        output_type: Any = None,
    ) -> RunOutput:
        """`run` for programs with an event loop of asyncio, which it does not block.

        A turn that waits for its place holds no thread, one that runs has one of its own.
        Cancelling the task ends the model's work, stores nothing and frees the place; a
        cancellation that comes when the turn is being stored is too late, and the output is given.
        """
        from webapp.agent.async_turns import run

        begin = self._asked(
            input,
            user_id,
            session_id,
            idempotency_key,
            approvals,
            output_type,
            streaming=False,
            in_thread=True,
        )
        return await run(begin, self.turns, user_id, cancel)

    @asks_for_its_user
    def astream(
        self,
        input: str = "",  # noqa: A002 - as in `run`
        *,
        user_id: str,
        session_id: str = DEFAULT_SESSION,
        cancel: Cancellation | None = None,
        idempotency_key: str = "",
        approvals: Sequence[Approval] = (),
        output_type: Any = None,
    ) -> AsyncGenerator[Event, None]:
        """`stream` for programs with an event loop of asyncio: `async for event in …`.

        The turn goes on as events are asked for. Closing the generator (`aclose`, or
        `contextlib.aclosing` around it) abandons the turn, as does cancelling the task.
        """
        from webapp.agent.async_turns import stream

        begin = self._asked(
            input,
            user_id,
            session_id,
            idempotency_key,
            approvals,
            output_type,
            streaming=True,
            in_thread=True,
        )
        return stream(begin, self.turns, user_id, cancel)

    def answering(self, output_type: Any) -> Agent:
        """This agent with another `output_type`; itself for None."""
        if output_type is None:
            return self
        other = copy(self)  # its parts are checked already
        object.__setattr__(other, "output_type", output_type)
        object.__setattr__(other, "_wanted", wanted_type(output_type))
        return other

    async def aclose(self) -> None:
        """`close` for programs with an event loop."""
        import asyncio  # not before it is needed: programs without a loop do not load it

        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self.aclose()

    def close(self) -> None:
        """Closes what the agent has opened itself; it may be called again, and no run after it."""
        self._tools.close()
        if self._own_model:
            self._model.close()  # type: ignore[attr-defined]  # it is an OpenAIModel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def loop(
        self,
        question: Message,
        history: Sequence[Message],
        context: RunContext,
        *,
        streaming: bool,
        resumption: Resumption | None = None,
        summary: Summary | None = None,
    ) -> Loop:
        """The loop of one turn over a given history, which stores nothing; its time begins now.

        With `resumption` it goes on where it was paused, and `question` is its first message.

        Its `play` raises `LoopLimitExceeded` when the model still asks for tools in its last
        allowed answer, `MessageTooLong` when the turn does not fit the model even without history,
        `GuardrailRefused`, `ModelTimeout` when `turn_timeout` has passed since this call, and the
        model's own errors.
        """
        context.span.agent(self.name, self._model.name)
        if self.turn_timeout is not None:
            context = replace(context, deadline=Deadline.after(self.turn_timeout))
        offer = self._tools.offer(context)
        budget = self._budget and self._budget.beside(offer.specs)
        cap = self.context_max_messages
        summarizing: Summarizing | None = None
        if self.summarize:
            summarizing = Summarizing(self.instructions, history, cap, budget, summary)
            window = summarizing.window(question)
        else:
            window = ContextWindow.of(self.instructions, history, question, cap, budget)
        return Loop(
            model=self._model,
            tools=offer.tools,
            specs=offer.specs,
            guardrails=self._guards,
            max_loops=self.max_loops,
            window=window,
            question=question,
            context=context,
            streaming=streaming,
            limits=ToolLimits(self.tool_timeout, self.tool_result_max_chars),
            resumption=resumption,
            drafts=None if self._wanted is None else Drafts(self._wanted),
            summarizing=summarizing,
        )

    def _token_budget(self) -> TokenBudget | None:
        if self.context_max_tokens == 0:
            return None
        require_whole("context_max_tokens", self.context_max_tokens)
        if not callable(self.token_counter):
            raise ConfigurationError("token_counter must be a function of a text, or be left out.")
        return TokenBudget(self.context_max_tokens, self.token_counter)

    def _asked(
        self,
        text: str,
        user_id: str,
        session_id: str,
        idempotency_key: str,
        approvals: Sequence[Approval],
        output_type: Any,
        *,
        streaming: bool,
        in_thread: bool = False,
    ) -> Callable[[TurnQueue, Cancellation | None], Generator[Event, None, None]]:
        """Checks what was asked; gives what makes the turn's events, which are played here or in
        another thread."""
        check_user_id(user_id)
        check_session_id(session_id)
        if text or not approvals:
            check_input(text)
        answering = partial(self.answering, output_type)
        if not (in_thread and isinstance(output_type, Mapping)):
            agent = answering()  # a wrong type is said at once; a JSON Schema takes a while
            answering = partial(agent.answering, None)

        def begin(queue: TurnQueue, cancel: Cancellation | None) -> Generator[Event, None, None]:
            context = RunContext(
                user_id=user_id,
                session_id=session_id,
                cancel=cancel,
                idempotency_key=_request(user_id, session_id, idempotency_key, text),
                state=state_in(self.memory, user_id, session_id),
            )
            return _without_start(
                play_turn(
                    text,
                    context,
                    store=MemoryTurn(
                        answering, self.memory, context, self.paused_turns, self.summarize
                    ),
                    queue=queue,
                    streaming=streaming,
                    approvals=approvals,
                )
            )

        return begin


def _request(user_id: str, session_id: str, key: str, text: str) -> str:
    """The request's name among all: another user's, or another question, has another."""
    if not key:
        return ""
    name = json.dumps([user_id, session_id, key, text])
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _without_start(events: Generator[TurnEvent, None, None]) -> Generator[Event, None, None]:
    """The events that a program sees: that its turn has begun is none of them."""
    event = next(events)
    if not isinstance(event, Started):
        yield event
    yield from cast("Generator[Event, None, None]", events)


def finish(events: Iterator[Event]) -> RunOutput:
    """Runs a turn to its end and gives its output."""
    for event in events:
        if isinstance(event, Finished):
            output = event.output
    return output
