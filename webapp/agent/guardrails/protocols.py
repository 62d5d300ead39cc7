"""What a guardrail is: a name, and one check or more of what a turn says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class Replace:
    """A check's answer that puts another text in the place of the one it saw, as masking does.

    What the model sees, what is stored and what the client gets is then `text`.
    """

    text: str


Verdict: TypeAlias = str | Replace | None
"""None lets the text pass, a sentence refuses it, `Replace` changes it."""


@runtime_checkable
class InputGuardrail(Protocol):
    """Looks at the question before the model sees it.

    A further parameter that is annotated `RunContext` is given the context of the run.
    """

    @property
    def name(self) -> str: ...

    @property
    def check_input(self) -> Callable[..., Any]:
        """`check_input(text)` gives a `Verdict`; a sentence in it is told to the client."""
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
    def check_output(self) -> Callable[..., Any]:
        """`check_output(text)` gives a `Verdict`; a sentence in it is told to the client."""
        ...


@runtime_checkable
class ToolGuardrail(Protocol):
    """Looks at what each tool gave before the model sees it and anything is stored.

    A refusal does not end the turn: the model is told the sentence in the place of the result. A
    further parameter that is annotated `RunContext` is given the context of the run.
    """

    @property
    def name(self) -> str: ...

    @property
    def check_tool_result(self) -> Callable[..., Any]:
        """`check_tool_result(text)` gives a `Verdict`; a sentence in it is told to the model."""
        ...


Guardrail: TypeAlias = InputGuardrail | OutputGuardrail | ToolGuardrail
