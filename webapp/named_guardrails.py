"""Makes the guardrails that come with Switchboard, from names and parameters in the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from webapp.agent import Guardrail
from webapp.agent.guardrails import (
    LengthGuardrail,
    PatternGuardrail,
    PersonalDataGuardrail,
    PromptInjectionGuardrail,
)
from webapp.errors import ConfigurationError
from webapp.listed_parts import Part
from webapp.setting_kinds import truth, whole_number, words

MOST_PATTERNS = 1_000
MOST_FILE_BYTES = 1024 * 1024

Read = Callable[[str], Any]


def named_guardrail(part: Part) -> Guardrail | None:
    """The guardrail of this name; None when none that comes with Switchboard has it.

    Raises `ConfigurationError` with a sentence for parameters that it does not take.
    """
    make = _MAKERS.get(part.name.replace("_", "-"))
    return None if make is None else make(part)


def _length(part: Part) -> Guardrail:
    _no_words(part)
    given = _values(part, {"input": whole_number, "output": whole_number, "name": str})
    return LengthGuardrail(**given)


def _patterns(part: Part) -> Guardrail:
    given = _values(
        part,
        {
            "file": _lines,
            "on": words,
            "mask": truth,
            "ignore_case": truth,
            "refusal": str,
            "replacement": str,
            "name": str,
        },
    )
    patterns = (*part.words, *given.pop("file", ()))
    if len(patterns) > MOST_PATTERNS:
        raise ConfigurationError(f"patterns takes at most {MOST_PATTERNS:,} expressions.")
    return PatternGuardrail(*patterns, **given)


def _personal_data(part: Part) -> Guardrail:
    given = _values(
        part,
        {"kinds": words, "on": words, "action": str, "regions": words, "name": str},
    )
    if part.words:
        if "kinds" in given:
            raise ConfigurationError("personal-data is told its kinds twice.")
        given["kinds"] = part.words
    return PersonalDataGuardrail(**given)


def _prompt_injection(part: Part) -> Guardrail:
    given = _values(part, {"on": words, "refusal": str, "name": str})
    return PromptInjectionGuardrail(*part.words, **given)


_MAKERS: Mapping[str, Callable[[Part], Guardrail]] = {
    "length": _length,
    "patterns": _patterns,
    "personal-data": _personal_data,
    "prompt-injection": _prompt_injection,
}
NAMES = tuple(_MAKERS)


def _values(part: Part, readers: Mapping[str, Read]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in part.values.items():
        if key not in readers:
            raise ConfigurationError(
                f"{part.name} has no parameter {key}; it has {', '.join(readers)}."
            )
        try:
            found[key] = readers[key](text)
        except ValueError as fault:
            raise ConfigurationError(f"{key} of {part.name} {fault}.") from None
    return found


def _no_words(part: Part) -> None:
    if part.words:
        raise ConfigurationError(
            f"The parameters of {part.name} need their names, as in input=4000."
        )


def _lines(path: str) -> tuple[str, ...]:
    """The expressions in a file, one a line; lines that begin with # are none."""
    file = Path(path)
    try:
        if file.stat().st_size > MOST_FILE_BYTES:
            raise ValueError("names a file of more than a mebibyte")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError("names a file that cannot be read as text") from None
    lines = (line.strip() for line in text.splitlines())
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise ValueError("names a file without an expression")
    return found
