"""What may refuse a question or an answer; the rules themselves are the application's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from webapp.errors import ConfigurationError, GuardrailRefused


@runtime_checkable
class InputGuardrail(Protocol):
    """Looks at the question before the model sees it."""

    @property
    def name(self) -> str: ...

    def check_input(self, text: str) -> str | None:
        """None when the question may pass, otherwise a sentence for the client."""
        ...


@runtime_checkable
class OutputGuardrail(Protocol):
    """Looks at each whole text of the model before anyone sees it and anything is stored.

    A streamed answer is held back until it has passed, and then comes in its pieces.
    """

    @property
    def name(self) -> str: ...

    def check_output(self, text: str) -> str | None:
        """None when the answer may pass, otherwise a sentence for the client."""
        ...


Guardrail: TypeAlias = InputGuardrail | OutputGuardrail


@dataclass(frozen=True, slots=True)
class Guardrails:
    """An agent's guardrails, sorted by what they look at; the first refusal counts."""

    inputs: tuple[InputGuardrail, ...] = ()
    outputs: tuple[OutputGuardrail, ...] = ()

    @classmethod
    def of(cls, guardrails: Sequence[Guardrail]) -> Guardrails:
        """Raises `ConfigurationError` for what is no guardrail, or has no name of its own."""
        for guardrail in guardrails:
            _check(guardrail)
        if repeated := _repeated(guardrail.name for guardrail in guardrails):
            raise ConfigurationError(f"Two guardrails have the name '{repeated}'.")
        return cls(
            tuple(each for each in guardrails if isinstance(each, InputGuardrail)),
            tuple(each for each in guardrails if isinstance(each, OutputGuardrail)),
        )

    def check_input(self, text: str) -> None:
        """Raises `GuardrailRefused` when a guardrail refuses the question."""
        for guardrail in self.inputs:
            if refusal := guardrail.check_input(text):
                raise GuardrailRefused(refusal, guardrail=guardrail.name)

    def check_output(self, text: str) -> None:
        """Raises `GuardrailRefused` when a guardrail refuses the answer."""
        for guardrail in self.outputs:
            if refusal := guardrail.check_output(text):
                raise GuardrailRefused(refusal, guardrail=guardrail.name)


def _check(guardrail: object) -> None:
    kind = type(guardrail).__name__
    if isinstance(guardrail, type) or not isinstance(guardrail, InputGuardrail | OutputGuardrail):
        raise ConfigurationError(
            f"{kind} is not a guardrail: it needs a name and check_input or check_output."
        )
    if not str(guardrail.name or "").strip():
        raise ConfigurationError(f"The guardrail of type {kind} has no name.")


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
