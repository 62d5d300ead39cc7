"""What OpenAI's API demands of a schema before it holds a model to it (`"strict": true`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a strict schema may say; others are refused there, so such a schema is sent as a wish.
KNOWN = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "properties",
        "required",
        "type",
    }
)
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
_BY_NAME = ("properties", "$defs")
_VALUES = ("default", "const", "enum", "examples")


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with objects that have the named fields alone, and without pydantic's titles,
    which repeat the names and cost tokens."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in _BY_NAME:
            found[key] = {name: closed(inner) for name, inner in value.items()}
        elif isinstance(value, dict) and key not in _VALUES:
            found[key] = closed(value)
        elif isinstance(value, list) and key not in _VALUES:
            found[key] = [closed(each) if isinstance(each, dict) else each for each in value]
        else:
            found[key] = value
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def is_closed(schema: object) -> bool:
    """Whether the API takes the schema as a strict one."""
    if not isinstance(schema, dict):
        return True
    if not schema.keys() <= ({"$ref"} if "$ref" in schema else KNOWN):
        return False
    if schema.get("format", "date") not in _FORMATS:
        return False
    if schema.get("type") == "object" and not (
        schema.get("additionalProperties") is False
        and set(schema.get("properties", ())) == set(schema.get("required", ()))
    ):
        return False
    inner = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
        schema.get("items"),
    ]
    return all(map(is_closed, inner))
