"""What an answer must be, and the reading of an answer; Python types and JSON Schemas fill it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webapp.agent.response_format import ResponseFormat
from webapp.agent.structured.answer_json import Found, values_in

NO_JSON = "It is not JSON."
SEVERAL = "It has several JSON values that differ; give one."


class Unfit(Exception):
    """A value is not of the wanted form; the text says to the model what is wrong.

    `for_good` says that another answer would do no better.
    """

    def __init__(self, fault: str, *, for_good: bool = False) -> None:
        super().__init__(fault)
        self.for_good = for_good


@dataclass(frozen=True, slots=True)
class Reading:
    """A good answer: its JSON text, which is stored, and what a program is given."""

    text: str
    parsed: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form, and the check of one value of it, which raises `Unfit`."""

    format: ResponseFormat
    check: Callable[[Found], Any]

    def read(self, text: str) -> Reading:
        """The one good value in an answer. Raises `Unfit`."""
        fault: Unfit | None = None
        for group in values_in(text):
            good: list[tuple[Found, Any]] = []
            for found in group:
                try:
                    good.append((found, self.check(found)))
                except Unfit as unfit:
                    if unfit.for_good:
                        raise
                    fault = fault or unfit
            if any(found.value != good[0][0].value for found, _ in good):
                raise Unfit(SEVERAL)
            if good:
                found, parsed = good[0]
                return Reading(found.text, parsed)
        raise fault or Unfit(NO_JSON)
