"""The events of a run and its outcome, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from webapp.messages import Usage

StepKind: TypeAlias = Literal[
    "agent", "function", "workflow", "parallel", "condition", "loop", "router"
]
StepStatus: TypeAlias = Literal["completed", "failed"]
WorkflowStatus: TypeAlias = Literal["running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one attempt at a step went.

    A condition, a router and a loop have a result each for what they decided: true or false, the
    names chosen, whether to stop. `seconds` is how long the attempt took; `error` a sentence, and
    `code` its stable name, when it failed.
    """

    path: str
    name: str
    kind: StepKind
    status: StepStatus = "completed"
    output: Any = None
    usage: Usage = field(default_factory=Usage)
    started_at_ms: int = 0
    seconds: float = 0.0
    attempt: int = 1
    error: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowStarted:
    """The first event: the run has its id, and with a store its row is on disk."""

    run_id: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins."""

    path: str
    name: str
    kind: StepKind
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of the answer of a step's agent."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class StepTool:
    """A tool of a step's agent is about to run, or has run."""

    path: str
    name: str
    status: Literal["started", "ok", "error"]


@dataclass(frozen=True, slots=True)
class StepFinished:
    """An attempt at a step is over, and kept; of a run that was taken up again, also for the steps
    that had finished before."""

    result: StepResult


@dataclass(frozen=True, slots=True)
class WorkflowOutput:
    """The outcome of a run.

    `content` is what the last step gave: text, or another JSON value. `steps` are in the order in
    which they ended, failed attempts included; `usage` is their sum. `session_state` is the state
    as the run left it.
    """

    content: Any
    run_id: str
    status: WorkflowStatus = "completed"
    steps: tuple[StepResult, ...] = ()
    usage: Usage = field(default_factory=Usage)
    session_state: dict[str, Any] = field(default_factory=dict)
    user_id: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowFinished:
    """The last event of every run that does not fail."""

    output: WorkflowOutput


WorkflowEvent: TypeAlias = (
    WorkflowStarted | StepStarted | StepText | StepTool | StepFinished | WorkflowFinished
)
