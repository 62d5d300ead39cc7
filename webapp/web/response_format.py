"""The form in which a request wants its answer, in the shape that OpenAI's API has for it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints

from webapp.agent.structured.wanted import Wanted
from webapp.errors import InvalidInput
from webapp.web.binding import Shape

FIELD = "response_format"


class JsonSchemaFormat(Shape):
    """A JSON Schema that the answer is to match, at most 32 KiB; a `$ref` stays inside of it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema_: dict[str, Any] = Field(alias="schema")
    description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    strict: bool | None = None


# What `wanted` checks, said again for those who read the OpenAPI document.
_EACH_TYPE: Final[list[JsonValue]] = [
    {
        "properties": {"type": {"const": "json_schema"}, "json_schema": {"type": "object"}},
        "required": ["json_schema"],
    },
    {"properties": {"type": {"enum": ["json_object", "text"]}, "json_schema": {"type": "null"}}},
]


class ResponseFormat(Shape):
    """How the answer is to be: text, any JSON object, or JSON that matches a schema."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _EACH_TYPE})

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


def wanted(given: ResponseFormat | None) -> Wanted | None:
    """What the answer must be; None for text. `InvalidInput` names the field that is wrong."""
    if given is None:
        return None
    about = given.json_schema
    if (given.type == "json_schema") != (about is not None):
        if about is None:
            raise _invalid("json_schema", "is required")
        raise _invalid("json_schema", f"does not go with the type {given.type}")
    if given.type == "text":
        return None
    # jsonschema takes a tenth of a second to import, and most servers never need it.
    from webapp.agent.structured.json_schemas import BadSchema, any_object, wanted_schema

    if about is None:
        return any_object()
    try:
        return wanted_schema(
            about.schema_,
            name=about.name,
            strict=about.strict or False,
            told=about.description or "",
        )
    except BadSchema as bad:
        raise _invalid("json_schema.schema", str(bad)) from None


def _invalid(field: str, reason: str) -> InvalidInput:
    name = f"{FIELD}.{field}"
    sentence = f"{name} {reason}"
    return InvalidInput(sentence, fields={name: sentence})
