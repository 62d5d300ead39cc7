"""The public names of the agent for applications; each is described in its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webapp.agent.agent import Agent
from webapp.agent.approvals import Approval, PausedTurn, PendingCall
from webapp.agent.events import (
    Event,
    Finished,
    ModelAnswered,
    RunOutput,
    RunStatus,
    ToolFinished,
    ToolStarted,
    ToolStatus,
)
from webapp.agent.guardrails import (
    Guardrail,
    InputGuardrail,
    LengthGuardrail,
    OutputGuardrail,
    PatternGuardrail,
    PersonalDataGuardrail,
    PromptInjectionGuardrail,
    Replace,
    ToolGuardrail,
    input_guardrail,
    output_guardrail,
    tool_guardrail,
)
from webapp.agent.mcp import MCPToolkit
from webapp.agent.meter import Meter
from webapp.agent.model import (
    Cancellation,
    Model,
    ModelReply,
    ModelRequest,
    TextDelta,
    ToolSpec,
)
from webapp.agent.paused_turns import InMemoryPausedTurns, PausedTurns
from webapp.agent.response_format import ResponseFormat
from webapp.agent.run_context import RunContext
from webapp.agent.text import check_input
from webapp.agent.tools import Tool, ToolError, Toolkit, tool

if TYPE_CHECKING:
    from webapp.agent.openai_model import OpenAIModel

__all__ = [
    "Agent",
    "Approval",
    "Cancellation",
    "Event",
    "Finished",
    "Guardrail",
    "InMemoryPausedTurns",
    "InputGuardrail",
    "LengthGuardrail",
    "MCPToolkit",
    "Meter",
    "Model",
    "ModelAnswered",
    "ModelReply",
    "ModelRequest",
    "OpenAIModel",
    "OutputGuardrail",
    "PatternGuardrail",
    "PausedTurn",
    "PausedTurns",
    "PendingCall",
    "PersonalDataGuardrail",
    "PromptInjectionGuardrail",
    "Replace",
    "ResponseFormat",
    "RunContext",
    "RunOutput",
    "RunStatus",
    "TextDelta",
    "Tool",
    "ToolError",
    "ToolFinished",
    "ToolGuardrail",
    "ToolSpec",
    "ToolStarted",
    "ToolStatus",
    "Toolkit",
    "check_input",
    "input_guardrail",
    "output_guardrail",
    "tool",
    "tool_guardrail",
]


def __getattr__(name: str) -> object:
    # Importing openai takes more than a second, which a test with its own model need not wait.
    if name == "OpenAIModel":
        from webapp.agent.openai_model import OpenAIModel

        return OpenAIModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
