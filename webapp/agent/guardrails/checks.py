"""The checks of an agent, sorted by what they look at; how one is run is in running.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.agent.guardrails.protocols import (
    Guardrail,
    InputGuardrail,
    OutputGuardrail,
    ToolGuardrail,
)
from webapp.agent.guardrails.running import Check, checked
from webapp.agent.run_context import RunContext
from webapp.errors import ConfigurationError, GuardrailRefused

KINDS = (
    (InputGuardrail, "check_input"),
    (OutputGuardrail, "check_output"),
    (ToolGuardrail, "check_tool_result"),
)
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Guardrails:
    """An agent's checks in their order: each sees what those before it made of the text, and the
    first refusal counts."""

    inputs: tuple[Check, ...] = ()
    outputs: tuple[Check, ...] = ()
    tools: tuple[Check, ...] = ()

    @classmethod
    def of(cls, guardrails: Sequence[Guardrail]) -> Guardrails:
        """Raises `ConfigurationError` for what is no guardrail, or has no name of its own."""
        for guardrail in guardrails:
            _require(guardrail)
        if repeated := _repeated(guardrail.name for guardrail in guardrails):
            raise ConfigurationError(f"Two guardrails have the name '{repeated}'.")
        return cls(
            *(
                tuple(
                    Check.of(each, getattr(each, method))
                    for each in guardrails
                    if isinstance(each, kind)
                )
                for kind, method in KINDS
            )
        )

    def check_input(self, text: str, context: RunContext) -> str:
        """The question as the model may see it.

        Raises `GuardrailRefused`, `GuardrailFailed` when a check could not say, `ModelTimeout` when
        the turn's time was up before it did, and `RunCalledOff`.
        """
        passed = checked(self.inputs, text, context)
        if passed is not text and not passed.strip():
            raise GuardrailRefused(
                "Nothing is left of the message without what a guardrail has removed from it.",
                guardrail=self.inputs[-1].name,
            )
        return passed

    def check_output(self, text: str, context: RunContext) -> str:
        """The answer as it may be told. Raises as `check_input` does."""
        return checked(self.outputs, text, context)

    def check_tool_result(self, text: str, context: RunContext) -> str:
        """What a tool gave, as the model may see it; a refusal is told to the model in its place.

        Raises as `check_input` does, but for `GuardrailRefused`.
        """
        try:
            return checked(self.tools, text, context)
        except GuardrailRefused as refusal:
            return f"Error: {refusal.message}"


def is_guardrail(value: object) -> bool:
    """Whether it has a name and one of the checks; a class has them for its instances alone."""
    return not isinstance(value, type) and isinstance(value, Guardrail)


def _require(guardrail: Any) -> None:
    kind = type(guardrail).__name__
    if not is_guardrail(guardrail):
        raise ConfigurationError(
            f"{kind} is not a guardrail: it needs a name and check_input, check_output or"
            " check_tool_result."
        )
    name = guardrail.name
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"The guardrail of type {kind} has no name.")
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise ConfigurationError(
            f"The name of the guardrail of type {kind} must be one line of at most"
            f" {LONGEST_NAME} characters."
        )
    for _, method in KINDS:
        if hasattr(guardrail, method) and not callable(getattr(guardrail, method)):
            raise ConfigurationError(f"{method} of the guardrail '{name}' is not a function.")


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
