"""Turns pydantic's JSON schemas into what the OpenAPI document shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def reference(shape: type[BaseModel]) -> dict[str, Any]:
    """Points at the shape among the document's components."""
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def parameters_of(shape: type[BaseModel]) -> list[dict[str, Any]]:
    """One query parameter for each field of the shape."""
    schema = shape.model_json_schema()
    required = schema.get("required", ())
    found = []
    for name, field in schema["properties"].items():
        described = {"name": name, "in": "query", "required": name in required}
        clean = _not_null(tidy(field))
        if "description" in clean:
            described["description"] = clean.pop("description")
        found.append({**described, "schema": clean})
    return found


def tidy(schema: Any) -> Any:
    """Without the titles that pydantic makes of the names, and defaults of null."""
    if isinstance(schema, list):
        return [tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    clean: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "title" or (name == "default" and value in (None, [], {})):
            continue
        if name == "properties":
            clean[name] = {field: tidy(inner) for field, inner in value.items()}
        else:
            clean[name] = tidy(value)
    if isinstance(clean.get("description"), str):
        clean["description"] = " ".join(clean["description"].split())
    return clean


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: what may be left out is not required, and that is all."""
    choices = schema.get("anyOf")
    if choices is None:
        return schema
    kept = [choice for choice in choices if choice.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
