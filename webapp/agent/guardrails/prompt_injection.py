"""Refuses words with which people, and pages that tools read, try to take an agent over.

Such a list catches what is copied from everywhere, and nobody who thinks up words of his own: what
an agent must never do is for its tools to refuse.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

from webapp.agent.guardrails.expressions import compiled
from webapp.agent.guardrails.injection_patterns import PATTERNS
from webapp.agent.guardrails.patterns import look_at, places
from webapp.agent.guardrails.protocols import Verdict

REFUSAL = "This message looks like an attempt to change what the assistant was told to do."


class PromptInjectionGuardrail:
    """Refuses texts that try to change what the agent was told; `more` are expressions beside the
    list. `on` names where is looked: `input`, `tools` (what tools gave), `output`."""

    always_quick = True
    check_input: Callable[[str], Verdict]
    check_output: Callable[[str], Verdict]
    check_tool_result: Callable[[str], Verdict]

    def __init__(
        self,
        *more: str,
        on: Iterable[str] = ("input", "tools"),
        refusal: str = REFUSAL,
        name: str = "prompt-injection",
    ) -> None:
        self.name = name
        self._patterns = [compiled(each, any_case=True) for each in (*PATTERNS, *more)]
        self._refusal = refusal
        self.on = places(name, on)
        self.description = "refuses attempts to change what the agent was told"
        look_at(self, self.on, self._check)

    def _check(self, text: str) -> Verdict:
        plain = plainly(text)
        # A sentence may be broken anywhere, and a few of the expressions look for a line's begin.
        forms = {plain, plain.replace("\n", " ")}
        found = any(each.search(form) is not None for form in forms for each in self._patterns)
        return self._refusal if found else None


def plainly(text: str) -> str:
    """The text without what hides words from a list: wide letters, invisible signs, odd spaces.

    Line breaks stay, all other white space is one space.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(char for char in text if unicodedata.category(char) != "Cf")
        text = text.replace("\u2019", "'")
    return "\n".join(" ".join(line.split()) for line in text.splitlines())
