"""One turn of one user, the same for every caller: its place, its history, the loop, storing it.

Where the history lies and what storing means is the caller's `TurnStore`: a memory for a program
that uses the agent, the database's one transaction on the server.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from webapp.agent.events import Event, Finished, RunOutput
from webapp.agent.loop import Loop
from webapp.agent.run_context import RunContext
from webapp.messages import Message
from webapp.turns import Place, TurnQueue


class Player(Protocol):
    """As much of an agent as a turn needs."""

    def loop(
        self,
        question: Message,
        history: Sequence[Message],
        context: RunContext,
        *,
        streaming: bool,
    ) -> Loop:
        """The loop of one turn over a given history; its time begins now."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """The agent and the history of a turn, read at one moment: `at_ms`, milliseconds since
    1970-01-01 UTC."""

    agent: Player
    history: Sequence[Message]
    at_ms: int


class TurnStore(Protocol):
    """Reads and writes one turn; made for it, and used by one thread."""

    def prepare(self) -> Prepared:
        """Reads what the turn needs. Called when its place has come; an error ends the turn."""
        ...

    def store(self, output: RunOutput, place: Place) -> None:
        """Writes the whole turn, with what it changed in its session's state, or raises and has
        written nothing of it.

        A store with transactions calls `place.require_held` inside of the one that writes.
        """
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """The turn's place has come and nothing refuses it: from here on only the model can fail."""


TurnEvent: TypeAlias = Started | Event


def play_turn(
    text: str,
    context: RunContext,
    *,
    store: TurnStore,
    queue: TurnQueue,
    streaming: bool,
    waiting_limit: int | None = None,
) -> Generator[TurnEvent, None, None]:
    """The events of a turn, `Finished` as the last; a completed turn is stored by then.

    A turn that is called off finishes as `cancelled` and stores nothing, nor does one whose events
    are closed early. Raises what the queue, the store and the loop raise.
    """
    place_in_line = queue.place(context.user_id, waiting_limit=waiting_limit, cancel=context.cancel)
    with place_in_line as place:
        if place is None:
            output = RunOutput("", context.run_id, "cancelled", messages=(Message.user(text),))
        else:
            ready = store.prepare()
            yield Started()
            question = Message("user", text, created_at_ms=ready.at_ms)
            loop = ready.agent.loop(question, ready.history, context, streaming=streaming)
            output = yield from loop.play()
            if output.status == "completed":
                store.store(output, place)
    # The place is free by now: a caller that stops reading here must not hold up the next turn.
    yield Finished(output)
