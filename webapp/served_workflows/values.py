"""What goes into a served run and comes out of it, as values; no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from webapp.agent.turn import Started
from webapp.chat.values import ChatTurn
from webapp.memory.workflow_runs.store import RunRow
from webapp.messages import Usage
from webapp.workflow import (
    RunSummary,
    StepFinished,
    StepResult,
    StepStarted,
    StepText,
    StepTool,
    WorkflowOutput,
    WorkflowStarted,
)

ROUTE = "workflow"


@dataclass(frozen=True, slots=True)
class AskedRun:
    """A run that a checked caller asks for; `turn` is the request as the tenant's limits see it,
    its message the input as text."""

    workflow: str
    input: Any
    turn: ChatTurn

    @classmethod
    def going_on(cls, run: RunRow, user_id: str, started: float) -> AskedRun:
        """A run that its worker left behind: nobody waits for it."""
        turn = ChatTurn(
            user_id, "", run.request_id, started, session_id=run.session_id, route=ROUTE
        )
        return cls(run.workflow, None, turn)


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A finished run; it is on disk when this exists."""

    run_id: str
    workflow: str
    user_id: str
    session_id: str
    output: Any
    usage: Usage
    steps: Sequence[StepResult]
    request_id: str
    status: str = "completed"

    @classmethod
    def of(cls, output: WorkflowOutput, asked: AskedRun) -> RunAnswer:
        """Of a run that has just come to its end."""
        return cls(
            output.run_id,
            asked.workflow,
            asked.turn.user_id,
            asked.turn.session_id,
            output.content,
            output.usage,
            output.steps,
            asked.turn.request_id,
        )

    @classmethod
    def of_kept(cls, run: RunSummary, asked: AskedRun) -> RunAnswer:
        """Of a run that was asked for before, with the same idempotency key."""
        return cls(
            run.run_id,
            run.workflow,
            asked.turn.user_id,
            run.session_id,
            run.content,
            run.usage,
            run.steps,
            run.request_id,
        )


RunEvent: TypeAlias = (
    Started | WorkflowStarted | StepStarted | StepText | StepTool | StepFinished | RunAnswer
)
