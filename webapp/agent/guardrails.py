"""Checks that may refuse a question or an answer; applications bring the rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, get_type_hints, runtime_checkable

from webapp.agent.run_context import RunContext
from webapp.agent.tool_arguments import is_context
from webapp.errors import ConfigurationError, GuardrailRefused


@runtime_checkable
class InputGuardrail(Protocol):
    """Looks at the question before the model sees it.

    A further parameter that is annotated `RunContext` is given the context of the run.
    """

    @property
    def name(self) -> str: ...

    @property
    def check_input(self) -> Callable[..., str | None]:
        """`check_input(text)` gives None when the question may pass, otherwise a sentence for the
        client."""
        ...


@runtime_checkable
class OutputGuardrail(Protocol):
    """Looks at each whole text of the model before anyone sees it and anything is stored.

    A streamed answer is held back until it has passed, and then comes in its pieces. A further
    parameter that is annotated `RunContext` is given the context of the run.
    """

    @property
    def name(self) -> str: ...

    @property
    def check_output(self) -> Callable[..., str | None]:
        """`check_output(text)` gives None when the answer may pass, otherwise a sentence for the
        client."""
        ...


Guardrail: TypeAlias = InputGuardrail | OutputGuardrail
Check: TypeAlias = Callable[[str, RunContext], str | None]


@dataclass(frozen=True, slots=True)
class Guardrails:
    """An agent's checks by what they look at, each with its guardrail; the first refusal counts."""

    inputs: tuple[tuple[Guardrail, Check], ...] = ()
    outputs: tuple[tuple[Guardrail, Check], ...] = ()

    @classmethod
    def of(cls, guardrails: Sequence[Guardrail]) -> Guardrails:
        """Raises `ConfigurationError` for what is no guardrail, or has no name of its own."""
        for guardrail in guardrails:
            _check(guardrail)
        if repeated := _repeated(guardrail.name for guardrail in guardrails):
            raise ConfigurationError(f"Two guardrails have the name '{repeated}'.")
        return cls(
            tuple(
                (g, _with_context(g.check_input))
                for g in guardrails
                if isinstance(g, InputGuardrail)
            ),
            tuple(
                (g, _with_context(g.check_output))
                for g in guardrails
                if isinstance(g, OutputGuardrail)
            ),
        )

    def check_input(self, text: str, context: RunContext) -> None:
        """Raises `GuardrailRefused` when a guardrail refuses the question."""
        _require(self.inputs, text, context)

    def check_output(self, text: str, context: RunContext) -> None:
        """Raises `GuardrailRefused` when a guardrail refuses the answer."""
        _require(self.outputs, text, context)


def _require(checks: Sequence[tuple[Guardrail, Check]], text: str, context: RunContext) -> None:
    for guardrail, check in checks:
        if refusal := check(text, context):
            raise GuardrailRefused(refusal, guardrail=guardrail.name)


def _with_context(check: Callable[..., str | None]) -> Check:
    """The check as one that takes the context, which it is given only where it asks for it."""
    names = _context_names(check)
    if not names:
        return lambda text, _context: check(text)
    return lambda text, context: check(text, **dict.fromkeys(names, context))


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


def _context_names(check: Callable[..., str | None]) -> list[str]:
    try:
        parameters = inspect.signature(check).parameters
    except (TypeError, ValueError):
        return []  # what says nothing of its parameters is given the text alone
    try:
        hints = get_type_hints(check)
    except (NameError, TypeError):
        # Another parameter's type is known to a type checker alone.
        hints = {n: RunContext for n, p in parameters.items() if p.annotation == "RunContext"}
    return [name for name in parameters if is_context(hints.get(name))]
