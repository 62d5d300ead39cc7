"""A deny-list of regular expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from webapp.agent.guardrails.expressions import compiled
from webapp.agent.guardrails.protocols import Replace, Verdict
from webapp.errors import ConfigurationError

PLACES = ("input", "output", "tools")
REFUSAL = "This cannot be talked about here."


class PatternGuardrail:
    """Refuses, or with `mask` cuts out, what one of the regular expressions finds.

    They are RE2's, upper and lower case are different unless `ignore_case`, and match anywhere in
    the text. `on` names where is looked: `input`, `output`, `tools`. Where a text is masked,
    `replacement` stands in the place of each find.
    """

    always_quick = True
    check_input: Callable[[str], Verdict]
    check_output: Callable[[str], Verdict]
    check_tool_result: Callable[[str], Verdict]

    def __init__(
        self,
        *patterns: str,
        on: Iterable[str] = ("input", "output"),
        mask: bool = False,
        ignore_case: bool = False,
        refusal: str = REFUSAL,
        replacement: str = "[removed]",
        name: str = "patterns",
    ) -> None:
        if not patterns:
            raise ConfigurationError(f"The guardrail {name} needs a regular expression.")
        self.name = name
        self._patterns = [compiled(each, any_case=ignore_case) for each in patterns]
        self._mask, self._refusal, self._replacement = mask, refusal, replacement
        self.on = places(name, on)
        act = "cuts out" if mask else "refuses"
        found = "1 expression finds" if len(patterns) == 1 else f"{len(patterns)} expressions find"
        self.description = f"{act} what {found}"
        look_at(self, self.on, self._check)

    def _check(self, text: str) -> Verdict:
        if not self._mask:
            found = any(each.search(text) is not None for each in self._patterns)
            return self._refusal if found else None
        left = text
        for each in self._patterns:
            left = each.sub(lambda _found: self._replacement, left)
        return None if left == text else Replace(left)


def places(name: str, on: Iterable[str]) -> tuple[str, ...]:
    """Where a guardrail looks, checked; a single word is one place."""
    wanted = (on,) if isinstance(on, str) else tuple(on)
    if not wanted or not set(wanted) <= set(PLACES):
        raise ConfigurationError(
            f"on of the guardrail {name} must be one or more of {', '.join(PLACES)}."
        )
    return wanted


def look_at(guardrail: Any, on: tuple[str, ...], check: Callable[[str], Verdict]) -> None:
    """Gives the guardrail the check as its method for each of these places, and for no other."""
    for place, method in zip(
        PLACES, ("check_input", "check_output", "check_tool_result"), strict=True
    ):
        if place in on:
            setattr(guardrail, method, check)
