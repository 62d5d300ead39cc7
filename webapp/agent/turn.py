"""One turn of one user, the same for every caller: its place, its history, the loop, storing it.

Where the history lies and what storing means is the caller's `TurnStore`: a memory for a program
that uses the agent, the database's one transaction on the server.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from webapp.agent.approvals import Approval, PausedTurn, Resumption, resumption
from webapp.agent.events import Event, Finished, RunOutput
from webapp.agent.loop import Loop
from webapp.agent.run_context import RunContext
from webapp.errors import ApprovalNotFound
from webapp.memory import Summary
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
        resumption: Resumption | None = None,
        summary: Summary | None = None,
    ) -> Loop:
        """The loop of one turn over a given history; its time begins now.

        With `resumption` it goes on where it was paused, and `question` is its first message.
        """
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """The agent and the history of a turn, read at one moment: `at_ms`, milliseconds since
    1970-01-01 UTC. `paused` is the session's turn that waits for approval, if there is one, and
    `summary` its running summary, where the agent uses one."""

    agent: Player
    history: Sequence[Message]
    at_ms: int
    paused: PausedTurn | None = None
    summary: Summary | None = None


class TurnStore(Protocol):
    """Reads and writes one turn; made for it, and used by one thread."""

    def prepare(self) -> Prepared:
        """Reads what the turn needs. Called when its place has come; an error ends the turn."""
        ...

    def store(self, output: RunOutput, place: Place) -> None:
        """Writes the whole turn, with what it changed in its session's state, or raises and has
        written nothing of it. Of a paused turn nothing but that state becomes part of the memory.

        A store with transactions calls `place.require_held` inside of the one that writes.
        """
        ...

    def save(self, paused: PausedTurn) -> None:
        """Keeps the turn that was paused as far as it has come now; raises when it is gone, or
        somebody else goes on with it."""
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
    approvals: Sequence[Approval] = (),
) -> Generator[TurnEvent, None, None]:
    """The events of a turn, `Finished` as the last; a completed or paused turn is stored by then.

    Where the session's turn waits for approval it goes on: `approvals` say with which calls, and
    `text`, which may be empty then, refuses the others. Raises `ApprovalNotFound`.

    A turn that is called off finishes as `cancelled` and stores nothing, nor does one whose events
    are closed early. Raises what the queue, the store and the loop raise.
    """
    place_in_line = queue.place(context.user_id, waiting_limit=waiting_limit, cancel=context.cancel)
    with place_in_line as place:
        if place is None:
            output = RunOutput("", context.run_id, "cancelled", messages=(Message.user(text),))
        else:
            ready = store.prepare()
            loop = _loop(text, context, ready, approvals, store, streaming=streaming)
            yield Started()
            output = yield from loop.play()
            if output.status != "cancelled":
                store.store(output, place)
    # The place is free by now: a caller that stops reading here must not hold up the next turn.
    yield Finished(output)


def _loop(
    text: str,
    context: RunContext,
    ready: Prepared,
    approvals: Sequence[Approval],
    store: TurnStore,
    *,
    streaming: bool,
) -> Loop:
    question = Message("user", text, created_at_ms=ready.at_ms) if text else None
    going_on = resumption(ready.paused, approvals, question, store.save)
    if going_on is not None:
        paused = going_on.paused
        context = replace(context, run_id=paused.run_id, idempotency_key=paused.request)
        return ready.agent.loop(
            paused.messages[0],
            ready.history,
            context,
            streaming=streaming,
            resumption=going_on,
            summary=ready.summary,
        )
    if question is None:
        raise ApprovalNotFound("No call waits for approval.")
    return ready.agent.loop(
        question, ready.history, context, streaming=streaming, summary=ready.summary
    )
