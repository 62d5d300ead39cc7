"""The store of a turn for programs: over any memory, without transactions."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.agent.events import RunOutput
from webapp.agent.run_context import RunContext
from webapp.agent.turn import Player, Prepared
from webapp.memory import Memory
from webapp.messages import now_ms
from webapp.turns import Place


@dataclass(frozen=True, slots=True)
class MemoryTurn:
    """The `TurnStore` of one turn over a memory."""

    agent: Player
    memory: Memory
    context: RunContext

    def prepare(self) -> Prepared:
        history = self.memory.get_messages(
            user_id=self.context.user_id, session_id=self.context.session_id
        )
        return Prepared(self.agent, history, now_ms())

    def store(self, output: RunOutput, place: Place) -> None:
        place.require_held()
        self.memory.add(
            *output.messages, user_id=self.context.user_id, session_id=self.context.session_id
        )
