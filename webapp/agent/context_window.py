"""Chooses what a model is sent: the instructions, as much history as fits, and this turn.

Only one system message is ever sent, and in front: many servers refuse a second one, or one that
stands further on, as a conversation that came with an import may have it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from webapp.agent.tokens import TokenBudget
from webapp.errors import ConfigurationError, MessageTooLong
from webapp.memory.capacity import in_turns, recent
from webapp.messages import Message


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """The part before the turn under way. `cap` counts all messages sent, instructions too.

    Where there is a `budget` of tokens, what is sent fits it too: tools, instructions, and as many
    whole turns as fit, the newest first.

    `instructions` is the system message that always stays, if there is one; it holds the stored
    system messages as well. Where there are no instructions those are the first of the history.
    """

    instructions: tuple[Message, ...]
    history: tuple[Message, ...]
    cap: int
    own_instructions: str = ""
    budget: TokenBudget | None = None

    @classmethod
    def of(
        cls,
        instructions: str,
        history: Sequence[Message],
        question: Message,
        cap: int,
        budget: TokenBudget | None = None,
        summary: str = "",
    ) -> ContextWindow:
        """The history that fits beside the instructions, the summary and the question."""
        answered = _answered(history)
        stored = [message.content for message in answered if message.role == "system"]
        if stored:
            answered = [message for message in answered if message.role != "system"]
        front = _system(instructions, *stored, summary)
        if not instructions and not summary:
            front, answered = (), (*front, *answered)
        kept = recent((*answered, question), cap - len(front))
        return cls(front, kept[:-1], cap, instructions, budget)

    def messages(self, turn: Sequence[Message]) -> tuple[Message, ...]:
        """All that is sent, at most `cap`; the turn, which grows, pushes whole old turns out.

        Raises `MessageTooLong` when the turn alone is over the budget of tokens.
        """
        sent = recent((*self.history, *turn), self.cap - len(self.instructions))
        if self.budget is None:
            return (*self.instructions, *sent)
        return self._affordable(self.budget, sent)

    def _affordable(self, budget: TokenBudget, sent: tuple[Message, ...]) -> tuple[Message, ...]:
        """What of it fits the budget: whole turns, the newest first, and then the stored system
        messages that stand in front of them."""
        systems, turns = in_turns(sent)
        newest: Sequence[Message] = turns.pop() if turns else ()
        front = self.instructions
        room = budget.max_tokens - budget.for_tools
        if budget.of((*front, *newest)) > room:
            front = _system(self.own_instructions)
            if budget.of(front) >= room:
                raise ConfigurationError(
                    "The instructions and the tools leave no room in context_max_tokens."
                )
            newest = _fitting(budget, newest, room - budget.of(front))
        left = room - budget.of((*front, *newest))
        kept: list[Message] = []
        told = budget.of(systems)
        if told <= left:
            kept, left = [*systems], left - told
        chosen: list[Sequence[Message]] = []
        for turn in reversed(turns):
            left -= budget.of(turn)
            if left < 0:
                break
            chosen.append(turn)
        return (*front, *kept, *chain.from_iterable(reversed(chosen)), *newest)

    def shorter(self) -> ContextWindow | None:
        """Without the older half of the turns, or at last without the stored system messages.

        None when nothing is left that could be left out.
        """
        systems = tuple(message for message in self.history if message.role == "system")
        turns = tuple(message for message in self.history if message.role != "system")
        if not turns:
            own = _system(self.own_instructions)
            stored = systems or [each.content for each in self.instructions] != [
                each.content for each in own
            ]
            return replace(self, history=(), instructions=own) if stored else None
        starts = [0, *(i for i, message in enumerate(turns) if message.role == "user" and i)]
        starts.append(len(turns))
        return replace(self, history=(*systems, *turns[starts[len(starts) // 2] :]))


def _fitting(budget: TokenBudget, turn: Sequence[Message], room: int) -> Sequence[Message]:
    """The turn under way, or its question and the latest calls with their results."""
    for cap in range(len(turn), 0, -1):
        shorter = recent(turn, cap)
        # Fewer than that would let the model ask for the same calls again and again.
        if len(shorter) == 1 < len(turn):
            break
        if budget.of(shorter) <= room:
            return shorter
    raise MessageTooLong(
        "This message alone is longer than the model may be sent."
        if len(turn) <= 1
        else "This message and what its tools gave are longer than the model may be sent."
    )


@lru_cache(maxsize=64)
def _system(*contents: str) -> tuple[Message, ...]:
    """One system message that says all of it; none when there is nothing to say.

    Most turns are told the same. The message is not stored, so its id and time mean nothing.
    """
    said = "\n\n".join(content for content in contents if content.strip())
    return (Message.system(said),) if said else ()


def _answered(history: Sequence[Message]) -> Sequence[Message]:
    """The history with no call but those whose results follow at once, and no other result.

    Servers refuse the whole request otherwise, and would for ever. Such calls come from imports
    and from messages that an application has added by itself.
    """
    if not any(message.tool_calls or message.role == "tool" for message in history):
        return history
    kept: list[Message] = []
    rest = deque(history)
    while rest:
        message = rest.popleft()
        if message.role == "tool":
            continue
        if not message.tool_calls:
            kept.append(message)
            continue
        results: dict[str | None, Message] = {}
        while rest and rest[0].role == "tool":
            result = rest.popleft()
            results.setdefault(result.tool_call_id, result)
        asked = dict.fromkeys(call.id for call in message.tool_calls)
        if all(call_id in results for call_id in asked):
            kept.append(message)
            kept.extend(results[call_id] for call_id in asked)
        elif message.content:
            kept.append(replace(message, tool_calls=()))
    return kept
