"""The store of a turn for programs: over any memory, without transactions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

from webapp.agent.approvals import PausedTurn
from webapp.agent.events import RunOutput
from webapp.agent.paused_turns import PausedTurns
from webapp.agent.run_context import RunContext
from webapp.agent.turn import Player, Prepared
from webapp.memory import Memory
from webapp.memory.protocol import StatefulMemory, SummarizedMemory
from webapp.messages import now_ms
from webapp.session_state import MAX_BYTES, SessionState
from webapp.session_state.values import fields_of
from webapp.turns import Place


@dataclass(frozen=True, slots=True)
class MemoryTurn:
    """The `TurnStore` of one turn over a memory; `agent` gives who plays it, `newest` is the id of
    the newest message that it has read, where there is one and the agent sums up."""

    agent: Callable[[], Player]
    memory: Memory
    context: RunContext
    paused_turns: PausedTurns
    summarize: bool = False
    newest: list[str] = field(default_factory=list)

    def prepare(self) -> Prepared:
        history = self.memory.get_messages(**self._whose)
        paused = self.paused_turns.get(**self._whose)
        summary = None
        if self.summarize:
            summary = cast("SummarizedMemory", self.memory).get_summary(**self._whose)
            self.newest.extend(message.id for message in history[-1:])
        return Prepared(self.agent(), history, now_ms(), paused, summary)

    def store(self, output: RunOutput, place: Place) -> None:
        place.require_held()
        if output.summary is not None and self.newest:
            cast("SummarizedMemory", self.memory).put_summary(
                output.summary, newest=self.newest[0], **self._whose
            )
        changes = self.context.state.finish()
        messages = output.messages if output.paused is None else ()
        if changes is None:
            self.memory.add(*messages, **self._whose)
        else:
            # A memory without states has refused every change.
            cast("StatefulMemory", self.memory).add(*messages, **self._whose, state=changes)
        if output.paused is not None:
            self.save(output.paused)
        else:
            self.paused_turns.drop(**self._whose)

    def save(self, paused: PausedTurn) -> None:
        self.paused_turns.put(paused, **self._whose)

    @property
    def _whose(self) -> _Whose:
        return {"user_id": self.context.user_id, "session_id": self.context.session_id}


class _Whose(TypedDict):
    user_id: str
    session_id: str


def state_in(memory: Memory, user_id: str, session_id: str) -> SessionState:
    """The state of a turn's session, which is read when somebody looks at it."""
    get_state: Callable[..., dict[str, Any]] | None = getattr(memory, "get_state", None)
    if get_state is None:
        return SessionState(
            refusal=f"{type(memory).__name__} keeps no session state, so nothing can be set in it."
        )
    return SessionState(
        read=lambda: fields_of(get_state(user_id=user_id, session_id=session_id)),
        max_bytes=getattr(memory, "max_state_bytes", MAX_BYTES),
    )
