"""Builds the OpenAPI document from the application's routes, guards and bound shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from webapp.accounts.roles import PERMISSIONS, Permission
from webapp.settings import Settings
from webapp.version import __version__
from webapp.web import answers
from webapp.web.door import doors_of
from webapp.web.guards import Guard
from webapp.web.openapi import shared
from webapp.web.openapi.operation import EVENTS, JSON, Operation, Reply
from webapp.web.openapi.operations import OPERATIONS
from webapp.web.openapi.schemas import parameters_of, reference, tidy

METHODS = ("get", "put", "post", "delete", "patch")
_CONVERTER = re.compile(r"<(?:[^<>:]+:)?([^<>:]+)>")


def build_document(app: Flask, settings: Settings) -> dict[str, Any]:
    """The document; its parts appear in the order of the table of operations."""
    found = dict(rest_routes(app))
    paths: dict[str, dict[str, Any]] = {}
    for name, operation in OPERATIONS.items():
        if name not in found:
            continue
        method, path = name.split(" ", 1)
        guard = guard_of(app, found[name])
        paths.setdefault(path, {})[method.lower()] = _operation(path, operation, guard)
    return {
        "openapi": "3.1.0",
        "info": shared.info(__version__),
        "tags": shared.tags(),
        "paths": paths,
        "components": {
            "securitySchemes": shared.SECURITY,
            "headers": shared.HEADERS,
            "responses": shared.responses(),
            "schemas": _schemas(settings),
        },
    }


def rest_routes(app: Flask) -> Iterator[tuple[str, Rule]]:
    """`GET /api/tenants/{user_id}` and the like, with the rule, of every documented door."""
    doors = doors_of(app)
    for rule in app.url_map.iter_rules():
        if not doors.of(rule.rule).documented:
            continue
        path = _CONVERTER.sub(r"{\1}", rule.rule)
        for method in METHODS:
            if method.upper() in (rule.methods or ()):
                yield f"{method.upper()} {path}", rule


def guard_of(app: Flask, rule: Rule) -> Permission | None:
    """The permission that the route's group asks for."""
    blueprint = rule.endpoint.rpartition(".")[0]
    for check in app.before_request_funcs.get(blueprint, ()):
        if isinstance(check, Guard):
            return check.permission
    return None


def _operation(path: str, operation: Operation, permission: Permission | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "description": operation.details,
        "parameters": _parameters(path, operation),
    }
    if operation.body is not None or operation.body_note:
        described["requestBody"] = _body(operation)
    described["responses"] = _responses(path, operation, permission)
    if permission is None:
        described["security"] = []
    else:
        described["security"] = [{"bearer": []}]
        described["x-roles"] = [role for role, held in PERMISSIONS.items() if permission in held]
    return {name: value for name, value in described.items() if value or name == "security"}


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": shared.IDENTIFIER}
        for name in re.findall(r"{(.+?)}", path)
    ]
    if operation.query is not None:
        found += parameters_of(operation.query)
    for header in operation.headers:
        found.append(
            {
                "name": header.name,
                "in": "header",
                "description": header.description,
                "required": header.required,
                "schema": header.schema,
            }
        )
    return found


def _body(operation: Operation) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if operation.body is not None:
        schema = reference(operation.body)
    media: dict[str, Any] = {"schema": schema}
    if operation.example:
        media["example"] = operation.example
    body: dict[str, Any] = {"required": True, "content": {operation.body_media: media}}
    if operation.body_note:
        body["description"] = operation.body_note
    return body


def _responses(
    path: str, operation: Operation, permission: Permission | None
) -> dict[str, dict[str, Any]]:
    described = {str(status): _reply(reply) for status, reply in operation.replies.items()}
    failures = {421, 500, *operation.failures}
    if permission is not None:
        # A guard reads the credential from the database, and bad ones are limited per address.
        failures |= {401, 403, 429, 503}
    if "{" in path:
        failures |= {400, 404}
    if operation.query is not None:
        failures |= {400}
    if operation.body is not None or operation.body_note:
        failures |= {400, 413, 415}
    for status in sorted(failures):
        described.setdefault(
            str(status), {"$ref": f"#/components/responses/{shared.name_of(status)}"}
        )
    return dict(sorted(described.items()))


def _reply(reply: Reply) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if reply.shape is not None:
        schema = reference(reply.shape)
    elif reply.media == JSON:
        schema = {"type": "object"}
    content: dict[str, Any] = {reply.media: {"schema": schema}}
    for media in reply.also:
        content[media] = shared.EVENTS if media == EVENTS else {"schema": {"type": "string"}}
    return {
        "description": reply.description,
        "headers": shared.headers("X-Request-Id", *reply.headers),
        "content": content,
    }


def _schemas(settings: Settings) -> dict[str, Any]:
    bodies = [operation.body for operation in OPERATIONS.values() if operation.body is not None]
    replies = [
        reply.shape
        for operation in OPERATIONS.values()
        for reply in operation.replies.values()
        if reply.shape is not None
    ]
    shapes: list[type[BaseModel]] = [*bodies, *replies, answers.Error]
    _, both = models_json_schema(
        [(shape, "validation") for shape in dict.fromkeys(shapes)],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {name: tidy(schema) for name, schema in sorted(both["$defs"].items())}
    # How long a message may be is a setting, so the shape itself does not know it.
    schemas["ChatRequest"]["properties"]["message"]["maxLength"] = settings.message_max_chars
    return schemas
