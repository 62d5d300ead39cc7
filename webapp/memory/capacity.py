"""The rule by which a conversation is cut to a number of messages; no storage, no users.

Over the cap whole oldest turns go, the system messages stay in front as long as the newest turn
fits, the newest turn always stays. A turn begins at each user message; what stands before the first
one, system messages apart, is a turn without a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeVar

from webapp.messages import ToolCall


class Turnable(Protocol):
    """As much of a message as the rule looks at."""

    @property
    def role(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[ToolCall]: ...
    @property
    def tool_call_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Outline:
    """A stored message without what it says: enough for `cut`, not for finding orphans."""

    seq: int
    role: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @classmethod
    def of(cls, seq: int, role: str, has_calls: bool) -> Outline:
        return cls(seq, role, (ToolCall("", "", ""),) if has_calls else ())


Item = TypeVar("Item", bound=Turnable)


def fit(messages: Iterable[Item], cap: int) -> tuple[Item, ...]:
    """The messages that stay under a cap of at least 1, in their order.

    A tool message whose call does not stand before it in its own turn never stays. Otherwise
    nothing goes unless there are more than `cap`; then the system messages are moved to the front,
    and of those that do not fit beside the newest turn the newest stay. No older turn stays when
    the newest alone is too large.
    """
    return cut(without_orphans(messages), cap)


def recent(messages: Iterable[Item], cap: int) -> tuple[Item, ...]:
    """The newest whole turns of at most `cap` messages, the newest one perhaps under way.

    The same rule as `fit`, but a newest turn that is too large and has no answer yet keeps, after
    its question, the latest calls with all their results: without them the model would ask for
    the same calls again. A cap below 1, which instructions may leave, still lets the question be.
    """
    cap = max(cap, 1)
    standing = without_orphans(messages)
    return tuple(standing) if len(standing) <= cap else _cut(standing, cap, _under_way)


def cut(messages: Sequence[Item], cap: int) -> tuple[Item, ...]:
    """`fit` for messages of which it is known that every tool message has its call."""
    return tuple(messages) if len(messages) <= cap else _cut(messages, cap, _shortened)


def without_orphans(messages: Iterable[Item], calls_before: Iterable[str] = ()) -> list[Item]:
    """The messages without tool messages that answer no call made before them in their turn.

    `calls_before` are the ids of the calls in the turn that the first message may continue.
    """
    messages = list(messages)
    # Each turn comes by here with its whole history, which mostly holds no tool message.
    if "tool" not in [message.role for message in messages]:
        return messages
    calls = set(calls_before)
    standing = []
    for message in messages:
        role = message.role
        if role == "user":
            calls.clear()
        elif role == "tool":
            if message.tool_call_id not in calls:
                continue
        elif message.tool_calls:
            calls.update(call.id for call in message.tool_calls)
        standing.append(message)
    return standing


def oldest_turns(roles: Sequence[str], excess: int) -> int | None:
    """The number of entries to drop at the front, so that whole turns of at least `excess` messages
    go.

    `roles` are those of a conversation from its oldest message on, no system message among them;
    it may end early. None when no turn begins there after enough messages.
    """
    for index in range(excess, len(roles)):
        if roles[index] == "user":
            return index
    return None


def _cut(
    messages: Sequence[Item], cap: int, shorten: Callable[[list[Item], int], list[Item]]
) -> tuple[Item, ...]:
    roles = [message.role for message in messages]
    if "system" not in roles:
        first = oldest_turns(roles, len(roles) - cap)
        if first is not None:
            return tuple(messages[first:])
    systems = [message for message in messages if message.role == "system"]
    turns = _turns(messages)
    kept = turns.pop() if turns else []
    if len(kept) > cap:
        kept, turns = shorten(kept, cap), []
    room = cap - len(kept)
    front = systems[max(0, len(systems) - room) :]
    room -= len(front)
    first = len(turns)
    while first > 0 and len(turns[first - 1]) <= room:
        first -= 1
        room -= len(turns[first])
    return (*front, *chain.from_iterable(turns[first:]), *kept)


def in_turns(messages: Sequence[Item]) -> tuple[list[Item], list[list[Item]]]:
    """The system messages, and the others by turns."""
    return [message for message in messages if message.role == "system"], _turns(messages)


def _turns(messages: Sequence[Item]) -> list[list[Item]]:
    turns: list[list[Item]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _shortened(turn: list[Item], cap: int) -> list[Item]:
    """The question and the last answer; a turn without a question keeps its last answer."""
    question = [turn[0]] if turn[0].role == "user" else []
    answers = [m for m in turn if m.role == "assistant" and not m.tool_calls]
    if not question and not answers:
        # Calls and their results alone: the last call stays, so that the turn does.
        answers = [m for m in turn if m.role == "assistant"]
    return (question + answers[-1:])[:cap]


def _under_way(turn: list[Item], cap: int) -> list[Item]:
    last = next((m for m in reversed(turn) if m.role == "assistant"), None)
    if turn[0].role != "user" or last is None or not last.tool_calls:
        return _shortened(turn, cap)
    groups: list[list[Item]] = []
    for message in turn[1:]:
        if message.role == "assistant" or not groups:
            groups.append([])
        groups[-1].append(message)
    tail: list[Item] = []
    for group in reversed(groups):
        if 1 + len(group) + len(tail) > cap:
            break
        tail = group + tail
    # A result may stand behind a later answer than its call's, and would be left without it.
    return without_orphans([turn[0], *tail])
