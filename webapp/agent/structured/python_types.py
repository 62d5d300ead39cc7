"""A Python type as the form of an answer, by pydantic: models, dataclasses, TypedDicts, lists,
unions, plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Union

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic_core import SchemaError

from webapp.agent.response_format import ResponseFormat
from webapp.agent.structured.answer_json import Found
from webapp.agent.structured.strictness import closed, is_closed
from webapp.agent.structured.wanted import Unfit, Wanted
from webapp.errors import ConfigurationError

MAX_FAULTS_TOLD = 10
MAX_FAULT_CHARS = 300
# The field round a value that is no object: servers let a model write objects alone.
WRAPPER = "response"


def wanted_type(output_type: Any) -> Wanted | None:
    """What `output_type` asks for; None for text as it comes (`str`, or None).

    A `Wanted` is one already, a mapping is a JSON Schema, several types in a list are a union.
    Raises `ConfigurationError` for what is none of these.
    """
    if output_type is None or output_type is str:
        return None
    if isinstance(output_type, Wanted):
        return output_type
    if isinstance(output_type, Mapping):
        # jsonschema is slow to import, and most programs have types.
        from webapp.agent.structured.json_schemas import BadSchema, wanted_schema

        try:
            return wanted_schema(output_type)
        except BadSchema as bad:
            raise ConfigurationError(f"The JSON Schema of output_type {bad}.") from bad
    if isinstance(output_type, list | tuple) and output_type:
        output_type = Union[tuple(output_type)]  # noqa: UP007 - the types are known at run time
    try:
        return _of_type(output_type)
    except TypeError:
        return _made(output_type)  # an Annotated with a list in it, say, has no hash


def _made(output_type: Any) -> Wanted:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", getattr(output_type, "__name__", ""))[:64] or "answer"
    wrapped_field: dict[str, Any] = {WRAPPER: (output_type, ...)}
    try:
        plain = wrapped = TypeAdapter(output_type)
        schema = plain.json_schema()
        if schema.get("type") != "object":
            shape = create_model(name, **wrapped_field)
            wrapped = TypeAdapter(shape)
            schema = wrapped.json_schema()
    except (PydanticUserError, SchemaError, NameError, AttributeError, TypeError) as fault:
        raise ConfigurationError(
            "output_type must be a type that pydantic can check, such as a BaseModel, and"
            f" {_shown(output_type)} is none: {str(fault).partition(chr(10))[0]}"
        ) from fault
    schema = closed(schema)
    told = str(schema.get("description") or "")[:1000]

    def check(found: Found) -> Any:
        is_wrapped = isinstance(found.value, dict) and [*found.value] == [WRAPPER]
        try:
            if is_wrapped and wrapped is not plain:
                return getattr(wrapped.validate_json(found.text), WRAPPER)
            return plain.validate_json(found.text)
        except ValidationError as fault:
            raise Unfit(_sentence(fault)) from None

    return Wanted(ResponseFormat(name, schema, is_closed(schema), told), check)


def _shown(given: object) -> str:
    """What was given, without the values in it."""
    if isinstance(given, BaseModel):
        return f"an object of {type(given).__name__} (pass the class itself)"
    return str(given)[:200]


_of_type = lru_cache(maxsize=256)(_made)


def _sentence(fault: ValidationError) -> str:
    told = []
    for each in fault.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(map(str, each["loc"]))[:100]
        told.append(f"{place}: {each['msg'][:MAX_FAULT_CHARS]}" if place else each["msg"])
    more = [f"and {len(told) - MAX_FAULTS_TOLD} more"] if len(told) > MAX_FAULTS_TOLD else []
    return "; ".join(told[:MAX_FAULTS_TOLD] + more) + "."
