"""Guardrails: checks that may refuse or change a question, an answer, or what a tool gave.

Those that come with Switchboard are here too; applications bring others, as objects with the
methods of the protocols, or as functions under `input_guardrail` and its two siblings.
"""

from __future__ import annotations

from webapp.agent.guardrails.checks import Guardrails
from webapp.agent.guardrails.functions import (
    input_guardrail,
    output_guardrail,
    tool_guardrail,
)
from webapp.agent.guardrails.length import LengthGuardrail
from webapp.agent.guardrails.patterns import PatternGuardrail
from webapp.agent.guardrails.personal_data import PersonalDataGuardrail
from webapp.agent.guardrails.prompt_injection import PromptInjectionGuardrail
from webapp.agent.guardrails.protocols import (
    Guardrail,
    InputGuardrail,
    OutputGuardrail,
    Replace,
    ToolGuardrail,
)

__all__ = [
    "Guardrail",
    "Guardrails",
    "InputGuardrail",
    "LengthGuardrail",
    "OutputGuardrail",
    "PatternGuardrail",
    "PersonalDataGuardrail",
    "PromptInjectionGuardrail",
    "Replace",
    "ToolGuardrail",
    "input_guardrail",
    "output_guardrail",
    "tool_guardrail",
]
