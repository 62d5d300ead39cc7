"""What a model is sent of a conversation: instructions, as much history as fits, this turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from webapp.memory.capacity import recent
from webapp.messages import Message


@dataclass(frozen=True, slots=True)
class Context:
    """The part before the turn under way. `cap` counts all messages sent, instructions too."""

    instructions: tuple[Message, ...]
    history: tuple[Message, ...]
    cap: int

    @classmethod
    def of(
        cls, instructions: str, history: Sequence[Message], question: Message, cap: int
    ) -> Context:
        """The history that fits beside the instructions and the question."""
        front = (Message.system(instructions),) if instructions else ()
        kept = recent((*_answered(history), question), cap - len(front))
        return cls(front, kept[:-1], cap)

    def messages(self, turn: Sequence[Message]) -> tuple[Message, ...]:
        """All that is sent, at most `cap`; the turn, which grows, pushes whole old turns out."""
        return (
            *self.instructions,
            *recent((*self.history, *turn), self.cap - len(self.instructions)),
        )

    def shorter(self) -> Context | None:
        """Without the older half of the turns, or at last without the stored system messages.

        None when nothing is left that could be left out.
        """
        systems = tuple(message for message in self.history if message.role == "system")
        turns = tuple(message for message in self.history if message.role != "system")
        if not turns:
            return replace(self, history=()) if systems else None
        starts = [0, *(i for i, message in enumerate(turns) if message.role == "user" and i)]
        starts.append(len(turns))
        return replace(self, history=(*systems, *turns[starts[len(starts) // 2] :]))


def _answered(history: Sequence[Message]) -> Iterable[Message]:
    """The history without calls that have no result, which servers refuse with the whole request.

    Such calls come from imports and from messages that an application has added by itself.
    """
    if not any(message.tool_calls for message in history):
        return history
    kept: list[Message] = []
    for index, message in enumerate(history):
        if message.tool_calls:
            results = takewhile(lambda after: after.role == "tool", history[index + 1 :])
            if not {call.id for call in message.tool_calls} <= {
                result.tool_call_id for result in results
            }:
                if message.content:
                    kept.append(replace(message, tool_calls=()))
                continue
        kept.append(message)
    return kept
