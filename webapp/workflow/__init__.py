"""Workflows: steps of agents and functions for one user, with a journal after each step.

Usable without a server; `InMemoryWorkflowStore` needs no database either.
"""

from webapp.workflow.context import ExecutionContext
from webapp.workflow.events import (
    StepFinished,
    StepResult,
    StepStarted,
    StepText,
    StepTool,
    WorkflowEvent,
    WorkflowFinished,
    WorkflowOutput,
    WorkflowStarted,
)
from webapp.workflow.in_memory import InMemoryWorkflowStore
from webapp.workflow.journal import RunSummary, WorkflowStore
from webapp.workflow.nodes import Condition, Loop, Parallel, Router, Step
from webapp.workflow.postgres import PostgresWorkflowStore
from webapp.workflow.sqlite import SQLiteWorkflowStore
from webapp.workflow.workflow import Workflow

__all__ = [
    "Condition",
    "ExecutionContext",
    "InMemoryWorkflowStore",
    "Loop",
    "Parallel",
    "PostgresWorkflowStore",
    "Router",
    "RunSummary",
    "SQLiteWorkflowStore",
    "Step",
    "StepFinished",
    "StepResult",
    "StepStarted",
    "StepText",
    "StepTool",
    "Workflow",
    "WorkflowEvent",
    "WorkflowFinished",
    "WorkflowOutput",
    "WorkflowStarted",
    "WorkflowStore",
]
