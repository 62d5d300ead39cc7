"""A JSON Schema as the form of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import ValidationError

from webapp.agent.response_format import ResponseFormat
from webapp.agent.structured.answer_json import Found
from webapp.agent.structured.counted import TooMuchWork, faults_in
from webapp.agent.structured.schema_bounds import BadSchema as BadSchema
from webapp.agent.structured.schema_bounds import usable_validator
from webapp.agent.structured.strictness import is_closed
from webapp.agent.structured.wanted import Unfit, Wanted

MAX_FAULT_CHARS = 300
TOO_MUCH = "It is too large, or nested too deep, to be checked."


def wanted_schema(
    schema: Mapping[str, Any], *, name: str = "answer", strict: bool | None = None, told: str = ""
) -> Wanted:
    """The schema as a form; without `strict` it is held to as strictly as it can be.

    Raises `BadSchema` for what is no JSON Schema, and for a larger one than is checked here.
    """
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise BadSchema("is not JSON") from None
    return _wanted(text, name, strict, told)


@lru_cache(maxsize=32)  # a program asks for few forms, again and again
def _wanted(text: str, name: str, strict: bool | None, told: str) -> Wanted:
    validator = usable_validator(text)
    schema: dict[str, Any] = validator.schema

    def check(found: Found) -> Any:
        try:
            faults = faults_in(validator, found.value)
        except TooMuchWork:
            raise Unfit(TOO_MUCH, for_good=True) from None
        if faults:
            raise Unfit("; ".join(map(_sentence, faults)) + ".")
        return found.value

    held = is_closed(schema) if strict is None else strict
    return Wanted(ResponseFormat(name, schema, held, told), check)


def any_object() -> Wanted:
    """The form of `{"type": "json_object"}`: any JSON object."""

    def check(found: Found) -> Any:
        if not isinstance(found.value, dict):
            raise Unfit("It must be a JSON object.")
        return found.value

    return Wanted(ResponseFormat(), check)


def _sentence(fault: ValidationError) -> str:
    said = fault.message[:MAX_FAULT_CHARS]
    place = ".".join(map(str, fault.absolute_path))[:100]
    return f"{place}: {said}" if place else said
