"""A turn that waits for people's approval of a tool's call, as values; who keeps it is a store's.

The turn so far is kept apart from the memory, which gets it whole when it is complete. Each call
that was approved is run once: that it begins is kept before it runs, and its result afterwards, so
that a turn that fails then goes on from there when it is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from webapp.agent.model import ModelReply
from webapp.errors import ApprovalNotFound
from webapp.messages import Message, ToolCall
from webapp.storable import storable

APPROVAL_REQUIRED = "approval_required"
MAX_REASON_CHARS = 1000
NOT_APPROVED = "Error: The user did not approve this call"
INTERRUPTED = (
    "Error: {name} was begun and interrupted, so that it is not known whether it did what it was"
    " called for."
)


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that waits for approval; `id` is what an approval names."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person has decided about a call; the model is told the `reason` of a refusal."""

    call_id: str
    approved: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PausedTurn:
    """A turn as far as it has come: its messages, the last of which asks for the calls.

    `results` are those that are known, by the ids of the calls. `gated` are the ids that need
    approval, and `begun` those that were approved and of which nothing else is known. `request` is
    what the keys of the calls are made of.
    """

    run_id: str
    request: str
    messages: tuple[Message, ...]
    model_calls: int
    gated: frozenset[str]
    results: Mapping[str, str] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All the calls that the last message asks for."""
        return self.messages[-1].tool_calls

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """Those that nobody has decided about."""
        return tuple(
            call
            for call in self.calls
            if call.id in self.gated and call.id not in self.results and call.id not in self.begun
        )

    @property
    def pending_calls(self) -> tuple[PendingCall, ...]:
        """The same for people."""
        return tuple(
            PendingCall(call.id, call.name, json.loads(call.arguments)) for call in self.waiting
        )

    def decided(
        self, decisions: Mapping[str, Approval], *, wrote_instead: bool
    ) -> tuple[PausedTurn, list[ToolCall]]:
        """The turn with what need not be run, and the calls that are to be run now."""
        results = dict(self.results)
        to_run: list[ToolCall] = []
        for call in self.calls:
            if call.id in self.begun and call.id not in results:
                results[call.id] = INTERRUPTED.format(name=call.name)
        for call in self.waiting:
            decision = decisions.get(call.id)
            if decision is not None and decision.approved:
                to_run.append(call)
            elif decision is not None:
                results[call.id] = _refusal(decision)
            elif wrote_instead:
                results[call.id] = f"{NOT_APPROVED}, and wrote instead."
        return replace(self, results=results), to_run

    def with_results(self, results: Mapping[str, str]) -> PausedTurn:
        return replace(self, results={**self.results, **results})


@dataclass(frozen=True, slots=True)
class Resumption:
    """How a paused turn goes on: what was decided, and what the user wrote besides. `save` keeps it
    as far as it has come, or raises, and then nothing may be run."""

    paused: PausedTurn
    decisions: Mapping[str, Approval]
    message: Message | None
    save: Callable[[PausedTurn], None]

    def with_checked_reasons(self, check: Callable[[str], str]) -> Resumption:
        """The same with what `check` makes of each reason that the model would be told."""
        decisions = {
            call_id: replace(each, reason=check(reason)) if (reason := _told_reason(each)) else each
            for call_id, each in self.decisions.items()
        }
        return replace(self, decisions=decisions)


def resumption(
    paused: PausedTurn | None,
    approvals: Sequence[Approval],
    message: Message | None,
    save: Callable[[PausedTurn], None],
) -> Resumption | None:
    """None for a turn that begins. A message alone refuses all that waits.

    Raises `ApprovalNotFound` when there is no such call.
    """
    if paused is None and not approvals:
        return None
    decisions = {each.call_id: each for each in approvals}
    if not decisions.keys() <= (paused.gated if paused is not None else set()):
        raise ApprovalNotFound("There is no call that waits for this approval.")
    return None if paused is None else Resumption(paused, decisions, message, save)


def with_own_ids(reply: ModelReply, gated: Callable[[ToolCall], bool]) -> ModelReply:
    """The reply with new ids for the calls that need approval.

    Some servers count a model's calls from 0 in every answer. An approval that comes late must not
    be taken for that of another call.
    """
    if not any(map(gated, reply.tool_calls)):
        return reply
    calls = (
        replace(call, id=uuid4().hex[:9]) if gated(call) else call for call in reply.tool_calls
    )
    return replace(reply, tool_calls=tuple(calls))


def to_text(paused: PausedTurn) -> str:
    """The turn as JSON."""
    return json.dumps(
        {
            "run_id": paused.run_id,
            "request": paused.request,
            "model_calls": paused.model_calls,
            "gated": sorted(paused.gated),
            "begun": sorted(paused.begun),
            "results": dict(paused.results),
            "messages": [_message_fields(each) for each in paused.messages],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def from_text(text: str) -> PausedTurn:
    """What `to_text` wrote."""
    value = json.loads(text)
    return PausedTurn(
        run_id=value["run_id"],
        request=value["request"],
        messages=tuple(map(_message, value["messages"])),
        model_calls=value["model_calls"],
        gated=frozenset(value["gated"]),
        results=value["results"],
        begun=frozenset(value["begun"]),
    )


def _refusal(decision: Approval) -> str:
    told = _told_reason(decision)
    return f"{NOT_APPROVED}: {told}" if told else f"{NOT_APPROVED}."


def _told_reason(decision: Approval) -> str:
    """What the model is told of it: nothing of an approval."""
    return "" if decision.approved else storable(decision.reason.strip()[:MAX_REASON_CHARS])


def _message_fields(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "content": message.content,
        "id": message.id,
        "created_at_ms": message.created_at_ms,
        "tool_call_id": message.tool_call_id,
        "extra": _plain(message.extra),
        "tool_calls": [
            {
                "id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "extra": _plain(call.extra),
                "fault": call.fault,
            }
            for call in message.tool_calls
        ],
    }


def _message(fields: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in fields.pop("tool_calls"))
    return Message(**fields, tool_calls=calls)


def _plain(extra: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the model's server wants back, which came as JSON."""
    return None if extra is None else dict(extra)
