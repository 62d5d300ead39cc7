"""The OpenAPI document as values that the page /docs shows: tables of fields, no references."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table; `name` is a path such as `tenants[].user_id`."""

    name: str
    kind: str
    required: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; fields only for those that are no failure, since all failures are alike."""

    status: str
    phrase: str
    description: str
    media: str
    fields: tuple[Field, ...]

    @property
    def is_failure(self) -> bool:
        return not self.status.startswith("2")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation; `call` is what follows the server's address in a call with curl."""

    id: str
    method: str
    path: str
    summary: str
    details: str
    roles: tuple[str, ...]
    parameters: tuple[tuple[str, Field], ...]
    body_media: str
    body: tuple[Field, ...]
    body_note: str
    call: tuple[str, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one tag."""

    name: str
    description: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page."""

    title: str
    version: str
    description: str
    credential: str
    error: tuple[Field, ...]
    groups: tuple[Group, ...]


def page_of(document: dict[str, Any]) -> Page:
    """The page of a document that document.py built."""
    info = document["info"]
    groups = []
    for tag in document["tags"]:
        endpoints = tuple(
            _endpoint(document, path, method, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if operation["tags"] == [tag["name"]]
        )
        if endpoints:
            groups.append(Group(tag["name"], tag["description"], endpoints))
    return Page(
        info["title"],
        info["version"],
        info["description"],
        document["components"]["securitySchemes"]["bearer"]["description"],
        _fields(document, document["components"]["schemas"]["Error"]),
        tuple(groups),
    )


def _endpoint(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> Endpoint:
    asked: dict[str, Any] = operation.get("requestBody", {})
    contents: dict[str, dict[str, Any]] = asked.get("content", {})
    media = next(iter(contents), "")
    content = contents.get(media, {})
    return Endpoint(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        details=operation.get("description", ""),
        roles=tuple(operation.get("x-roles", ())),
        parameters=tuple(
            (given["in"], _parameter(document, given)) for given in operation.get("parameters", ())
        ),
        body_media=media,
        body=_fields(document, content.get("schema", {})),
        body_note=asked.get("description", ""),
        call=_call(path, method.upper(), media, content.get("example")),
        replies=tuple(_reply(document, *named) for named in operation["responses"].items()),
    )


def _call(path: str, method: str, media: str, example: Any) -> tuple[str, ...]:
    """The path first, then curl's options, each ready for a shell; the key is not among them."""
    parts = [re.sub(r"\{\w+\}", "user-a", path)]
    if method != "GET":
        parts.append(f"-X {method}")
    if media:
        parts.append(f"-H {shlex.quote(f'Content-Type: {media}')}")
        body = json.dumps(example, ensure_ascii=False) if example else "@tenant.jsonl"
        parts.append(f"--data-binary {shlex.quote(body)}")
    return tuple(parts)


def _parameter(document: dict[str, Any], given: dict[str, Any]) -> Field:
    return _field(document, given["name"], given["schema"], given["required"], given)


def _reply(document: dict[str, Any], status: str, given: dict[str, Any]) -> Reply:
    reply = _resolved(document, given)
    media = " or ".join(reply["content"])
    schema = next(iter(reply["content"].values()))["schema"]
    fields = _fields(document, schema) if status.startswith("2") else ()
    return Reply(status, HTTPStatus(int(status)).phrase, reply["description"], media, fields)


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> tuple[Field, ...]:
    return tuple(_walk(document, schema, "", DEEPEST))


def _walk(
    document: dict[str, Any], given: dict[str, Any], prefix: str, depth: int
) -> Iterator[Field]:
    schema = _resolved(document, given)
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        found = _resolved(document, inner)
        items = found.get("items")
        path = f"{prefix}{name}" + ("[]" if items else "")
        yield _field(document, path, found, name in required, inner)
        if depth > 1:
            yield from _walk(document, items or found, f"{path}.", depth - 1)


def _field(
    document: dict[str, Any],
    name: str,
    schema: dict[str, Any],
    required: bool,
    described: dict[str, Any],
) -> Field:
    note = described.get("description", "")
    if "default" in schema:
        note = f"{note}; default {json.dumps(schema['default'])}".removeprefix("; ")
    if "examples" in schema:
        note = f"{note}; such as {schema['examples'][0]}".removeprefix("; ")
    return Field(name, kind_of(document, schema), required, note)


def kind_of(document: dict[str, Any], given: dict[str, Any]) -> str:
    """The type in a few words: `integer from 1 to 200`."""
    schema = _resolved(document, given)
    if "anyOf" in schema:
        return " or ".join(kind_of(document, choice) for choice in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {kind_of(document, schema.get('items', {}))}"
    if schema.get("format") == "date-time":
        return "moment, ISO 8601"
    low = schema.get("minLength", schema.get("minimum"))
    high = schema.get("maxLength", schema.get("maximum"))
    unit = " characters" if kind == "string" else ""
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}{unit}"
    if high is not None:
        return f"{kind}, at most {high}{unit}"
    if low and not unit:
        return f"{kind}, at least {low}"
    return kind


def _resolved(document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What a reference points at."""
    reference = given.get("$ref")
    if reference is None:
        return given
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
