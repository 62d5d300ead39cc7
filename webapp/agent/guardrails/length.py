"""A bound for the length of questions and answers."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.agent.parts import require_whole
from webapp.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class LengthGuardrail:
    """Refuses questions with more than `input` characters and answers with more than `output`.

    None sets no bound; one of them is needed.
    """

    input: int | None = None
    output: int | None = None
    name: str = "length"
    always_quick = True

    def __post_init__(self) -> None:
        if self.input is None and self.output is None:
            raise ConfigurationError("The guardrail length needs input=, output= or both.")
        for name, value in (("input", self.input), ("output", self.output)):
            if value is not None:
                require_whole(f"{name} of the guardrail {self.name}", value)

    @property
    def description(self) -> str:
        parts = (("question", self.input), ("answer", self.output))
        return " and ".join(
            f"at most {most:,} characters in {'a' if what == 'question' else 'an'} {what}"
            for what, most in parts
            if most is not None
        )

    def check_input(self, text: str) -> str | None:
        return _refusal("This message", self.input, text)

    def check_output(self, text: str) -> str | None:
        return _refusal("The answer", self.output, text)


def _refusal(what: str, most: int | None, text: str) -> str | None:
    if most is None or len(text) <= most:
        return None
    return f"{what} is too long: it may have {most:,} characters at most."
