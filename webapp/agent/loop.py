"""From the question to the answer: model, tools, model …; neither memory nor queue."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from webapp.agent.approvals import APPROVAL_REQUIRED, PausedTurn, Resumption, with_own_ids
from webapp.agent.asking import ask_beside, log_failure
from webapp.agent.call_keys import CallKeys
from webapp.agent.context_window import ContextWindow
from webapp.agent.events import (
    Event,
    ModelAnswered,
    RunOutput,
    RunStatus,
    ToolFinished,
    ToolStarted,
)
from webapp.agent.executor import ToolLimits, run_together
from webapp.agent.guardrails.bounded import RunCalledOff
from webapp.agent.guardrails.checks import Guardrails
from webapp.agent.model import Model, ModelReply, ModelRequest, TextDelta, ToolSpec
from webapp.agent.replies import usable
from webapp.agent.response_format import ResponseFormat
from webapp.agent.run_context import RunContext
from webapp.agent.structured.drafts import Drafts
from webapp.agent.structured.wanted import Reading
from webapp.agent.summarizing import SUMMARY_SECONDS, Summarizing
from webapp.agent.tools import Tool
from webapp.errors import (
    ContextOverflow,
    GuardrailFailed,
    GuardrailRefused,
    LoopLimitExceeded,
    MessageTooLong,
    ModelError,
    ModelTimeout,
)
from webapp.memory import Summary
from webapp.messages import Message, ToolCall, Usage, now_ms
from webapp.storable import storable


@dataclass(slots=True)
class Loop:
    """The loop of one turn; `play` may be called once."""

    model: Model
    tools: Mapping[str, Tool[..., Any]]
    specs: tuple[ToolSpec, ...]
    guardrails: Guardrails
    max_loops: int
    window: ContextWindow
    question: Message
    context: RunContext
    streaming: bool
    limits: ToolLimits = field(default_factory=ToolLimits)
    resumption: Resumption | None = None
    paused: PausedTurn | None = field(init=False, default=None)
    drafts: Drafts | None = None
    summarizing: Summarizing | None = None
    summary: Summary | None = None
    messages: list[Message] = field(init=False)
    keys: CallKeys = field(init=False)
    usage: Usage = field(default_factory=Usage)
    model_calls: int = 0
    shown: list[str] = field(default_factory=list)
    held: list[TextDelta] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages = [self.question]
        self.keys = CallKeys(self.context.idempotency_key or self.context.run_id)

    def play(self) -> Generator[Event, None, RunOutput]:
        """Gives the events of the turn and returns its outcome; failures are raised."""
        try:
            return (yield from self._played())
        except RunCalledOff:
            return self._outcome("cancelled", "".join(self.shown))

    def _played(self) -> Generator[Event, None, RunOutput]:
        if self.resumption is not None:
            yield from self._resume(self.resumption)
        elif self.guardrails.inputs:
            self._check_question()
        if self.summarizing is not None and self.resumption is None:
            self._sum_up(self.summarizing)
        while self.paused is None and self.model_calls < self.max_loops:
            reply = yield from self._ask()
            if reply is None:
                break
            parsed = None
            if self.drafts is not None and not reply.tool_calls:
                is_last = self.model_calls == self.max_loops
                read = self.drafts.read(reply, is_last=is_last)
                if read is None:
                    continue
                if self.guardrails.outputs and "\\u" in read.text:
                    read = self._unescaped(self.drafts, read)
                yield from self._pieces_of(read.text)
                reply, parsed = replace(reply, content=read.text), read.parsed
            self.messages.append(
                Message.assistant(reply.content, tool_calls=reply.tool_calls, extra=reply.extra)
            )
            if self.context.cancelled:
                break
            if not reply.tool_calls:
                return self._outcome("completed", reply.content, reply.finish_reason, parsed)
            if self.model_calls == self.max_loops:
                # The tools are not run: nobody would read what they give.
                raise self._too_many_answers()
            yield from self._run_tools(reply.tool_calls)
        if self.context.cancelled:
            return self._outcome("cancelled", "".join(self.shown))
        if self.paused is not None:
            return self._outcome("paused", self.messages[-1].content, APPROVAL_REQUIRED)
        raise self._too_many_answers()

    def _sum_up(self, summarizing: Summarizing) -> None:
        """A new summary where turns no longer fit; the turn goes on without one that fails."""
        stretch = summarizing.stretch(self.question)
        if not stretch:
            return
        asked = summarizing.request(stretch)
        reply = ask_beside(self.model, asked, self.context, SUMMARY_SECONDS)
        if reply is None:
            return
        self.usage += reply.usage
        try:
            text = self.guardrails.check_output(summarizing.text_of(reply.content), self.context)
        except (GuardrailFailed, GuardrailRefused, ModelError) as error:
            log_failure(error, self.context)
            return
        self.summary = Summary(text, stretch[-1].id, now_ms())
        self.window = summarizing.with_summary(self.summary).window(self.question)

    def _check_question(self) -> None:
        self.question = self._checked(self.question)
        self.messages = [self.question]

    def _checked(self, message: Message) -> Message:
        """What the guardrails make of the question is what is sent and stored."""
        text = self.guardrails.check_input(message.content, self.context)
        return message if text == message.content else replace(message, content=text)

    def _passed(self, reply: ModelReply) -> ModelReply:
        """The reply as the guardrails let it pass; what was held of a changed one is not told."""
        text = self.guardrails.check_output(reply.content, self.context)
        if text == reply.content:
            return reply
        self.held = [TextDelta(text)] if self.held and text else []
        return replace(reply, content=text)

    def _unescaped(self, drafts: Drafts, read: Reading) -> Reading:
        """What guardrails let pass of an answer of a form whose letters stand as JSON's escapes:
        they have looked at these, and not at the letters."""
        plain = json.dumps(json.loads(read.text), ensure_ascii=False)
        text = self.guardrails.check_output(plain, self.context)
        return read if text == plain else drafts.changed(text)

    def _ask(self) -> Generator[Event, None, ModelReply | None]:
        """One answer of the model; None when the run was called off."""
        while not self._called_off():
            self._require_time()
            self.shown, self.held = [], []
            try:
                reply = yield from self._metered()
            except ContextOverflow as overflow:
                self._shorten(overflow)
                continue
            except ModelError:
                if self._called_off():
                    break
                raise
            if reply is None:
                continue
            self.model_calls += 1
            self.usage += reply.usage
            yield ModelAnswered(reply.usage)
            reply = usable(reply, {call.id for each in self.messages for call in each.tool_calls})
            reply = with_own_ids(reply, self._is_gated)
            if self.guardrails.outputs:
                reply = self._passed(reply)
            if self.held and self.drafts is None:
                yield from self.held
            self.shown = [reply.content]
            return reply
        return None

    def _metered(self) -> Generator[Event, None, ModelReply | None]:
        """The reply, on the meter whatever becomes of it: a hang-up is no way to save its cost."""
        context, reply = self.context, None
        pieces: list[str] = []
        form: ResponseFormat | None = None
        if self.drafts is None:
            messages: Sequence[Message] = self.window.messages(self.messages)
        else:
            messages, form = self.drafts.request(self.model, self.window, self.messages)
        request = ModelRequest(
            messages,
            self.specs,
            context.cancel,
            context.deadline,
            context.meter,
            context.user_id,
            self.model_calls == 0,
            form,
        )
        context.meter.ask(request, pieces)
        span = context.span.model_call(self.model.name)
        try:
            if self.streaming:
                reply = yield from self._streamed(request, pieces)
            else:
                reply = self.model.complete(request)
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            context.meter.settle(reply)
            if reply is not None:
                span.answered(reply.usage, reply.finish_reason)
            span.end()
        return reply

    def _streamed(
        self, request: ModelRequest, pieces: list[str]
    ) -> Generator[Event, None, ModelReply | None]:
        """The model's reply, piece by piece; None when the run is called off meanwhile."""
        reply: ModelReply | None = None
        items = self.model.stream(request)
        try:
            for item in items:
                if self.context.cancelled:
                    return None
                if isinstance(item, ModelReply):
                    # The rest is read too, so that the model's connection can be used again.
                    reply = item
                    continue
                if reply is None:
                    self._require_time()
                if item.text:
                    pieces.append(item.text)
                    text = storable(item.text)
                    delta = item if text is item.text else TextDelta(text)
                    if self.guardrails.outputs or self.drafts is not None:
                        self.held.append(delta)
                    else:
                        self.shown.append(text)
                        yield delta
        finally:
            # A hang-up must end the model's work now and not when the collector comes by.
            if isinstance(items, Generator):
                items.close()
        if reply is None and not self.context.cancelled:
            raise ModelError("The model's answer broke off.")
        if reply is not None and not reply.content:
            return replace(reply, content="".join(pieces))
        return reply

    def _pieces_of(self, text: str) -> Iterator[TextDelta]:
        """The good answer in the pieces in which it came, when they are that text alone."""
        if self.streaming:
            came = "".join(delta.text for delta in self.held) == text
            yield from self.held if came else (TextDelta(text),)

    def _shorten(self, overflow: ContextOverflow) -> None:
        """Leaves the older half of the history out; raises when that cannot help."""
        if self.shown:
            raise ModelError("The model's answer broke off.") from overflow
        shorter = self.window.shorter()
        if shorter is None and not overflow.certain:
            raise ModelError("The model's server failed.") from overflow
        if shorter is None:
            raise MessageTooLong(
                "This message alone is longer than the model can read."
                if len(self.messages) == 1
                else "This message and what its tools gave are longer than the model can read."
            ) from overflow
        self.window = shorter

    def _run_tools(self, calls: tuple[ToolCall, ...]) -> Iterator[Event]:
        """Runs the calls, or those that need no approval: then the turn is paused."""
        gated = frozenset(call.id for call in calls if self._is_gated(call))
        results = yield from self._run([call for call in calls if call.id not in gated])
        self._require_time_unless_cancelled()
        if not gated:
            self._answer(calls, results)
            return
        request = self.context.idempotency_key or self.context.run_id
        self.paused = PausedTurn(
            self.context.run_id, request, tuple(self.messages), self.model_calls, gated, results
        )

    def _resume(self, resumption: Resumption) -> Iterator[Event]:
        """Goes on where the turn was paused, up to the model's next answer, or pauses again."""
        message = resumption.message
        if self.guardrails.inputs:
            # Before anything is kept or run: what is refused leaves all as it was.
            message = None if message is None else self._checked(message)
            resumption = resumption.with_checked_reasons(
                lambda reason: self.guardrails.check_input(reason, self.context)
            )
        before = resumption.paused
        self.messages, self.model_calls = list(before.messages), before.model_calls
        # The limit may have been lowered meanwhile; somebody must read what the tools give.
        self.max_loops = max(self.max_loops, before.model_calls + 1)
        for call in (call for message in self.messages for call in message.tool_calls):
            self.keys.of(call)
        turn, to_run = before.decided(resumption.decisions, wrote_instead=message is not None)
        if to_run:
            resumption.save(replace(turn, begun=turn.begun | {call.id for call in to_run}))
            turn = turn.with_results((yield from self._run(to_run)))
            resumption.save(turn)
            self._require_time_unless_cancelled()
        if turn.waiting:
            self.paused = turn
            return
        self._answer(turn.calls, turn.results)
        if message is not None:
            self.messages.append(message)

    def _run(self, calls: list[ToolCall]) -> Generator[Event, None, dict[str, str]]:
        """What each call gave, by its id."""
        for call in calls:
            yield ToolStarted(call.name, call.id)
        results = run_together(self.tools, calls, self.context, self.limits, self.keys)
        for call, result in zip(calls, results, strict=True):
            yield ToolFinished(call.name, "ok" if result.ok else "error", call.id)
        return {call.id: each.content for call, each in zip(calls, results, strict=True)}

    def _answer(self, calls: tuple[ToolCall, ...], results: Mapping[str, str]) -> None:
        for call in calls:
            content = results[call.id]
            if self.guardrails.tools:
                content = self.guardrails.check_tool_result(content, self.context)
            self.messages.append(Message.tool(content, tool_call_id=call.id))

    def _is_gated(self, call: ToolCall) -> bool:
        """Whether a person must approve the call; one that cannot be run is told so at once."""
        tool = self.tools.get(call.name)
        return tool is not None and tool.requires_approval and not call.fault

    def _too_many_answers(self) -> LoopLimitExceeded:
        return LoopLimitExceeded(f"The model went on calling tools after {self.max_loops} answers.")

    def _require_time_unless_cancelled(self) -> None:
        if not self.context.cancelled:
            self._require_time()

    def _called_off(self) -> bool:
        return self.context.cancelled

    def _require_time(self) -> None:
        deadline = self.context.deadline
        if deadline is not None and deadline.passed:
            raise ModelTimeout("The turn did not come to its end in time.")

    def _outcome(
        self, status: RunStatus, content: str, finish_reason: str = "", parsed: Any = None
    ) -> RunOutput:
        return RunOutput(
            content=content,
            run_id=self.context.run_id,
            status=status,
            usage=self.usage,
            messages=tuple(map(_lasting, self.messages)),
            model_calls=self.model_calls,
            finish_reason=finish_reason,
            model=self.model.name,
            parsed=parsed,
            paused=self.paused if status == "paused" else None,
            summary=self.summary,
        )


def _lasting(message: Message) -> Message:
    """The message without what belongs to the turn under way alone."""
    if not message.tool_calls:
        return message
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return replace(message, tool_calls=calls, extra=None)
