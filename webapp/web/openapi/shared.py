"""What the document's operations share: the error answers, headers, credentials, identifiers."""

from __future__ import annotations

from typing import Any, Final

from webapp.web.answers import Error
from webapp.web.binding import IDENTIFIER_SCHEMA
from webapp.web.openapi.operation import JSON
from webapp.web.openapi.schemas import reference

IDENTIFIER: Final = IDENTIFIER_SCHEMA

FAILURES: Final = {
    400: ("BadRequest", "The body is not JSON, or a field is wrong: `fields` says which and why."),
    401: ("Unauthenticated", "There is no credential, or one that is not valid here."),
    403: ("Forbidden", "The credential may not do this, or the tenant is blocked."),
    404: ("NotFound", "There is no such thing for this credential."),
    405: ("MethodNotAllowed", "The address takes other methods: see `Allow`."),
    409: ("Conflict", "The thing changed meanwhile, or the same request is still running."),
    413: (
        "BodyTooLarge",
        "The body is larger than this server takes, or the message than the model.",
    ),
    415: ("UnsupportedMediaType", "The body is of another media type than the one described."),
    421: ("Misdirected", "This server does not answer under that host name."),
    422: ("IdempotencyMismatch", "The Idempotency-Key came with another body before."),
    429: ("Refused", "A limit, the queue or the token budget says no: see `Retry-After`."),
    500: ("InternalError", "A defect of the server; its log has it under the request id."),
    502: ("ModelError", "The model failed, or answered what cannot be used; nothing was stored."),
    503: (
        "Unavailable",
        "The database is locked, full or away, the model's server is ill (`model_unavailable`), or"
        " too many turns run (`server_busy`); nothing was stored. Try again after `Retry-After`.",
    ),
    504: ("ModelTimeout", "The model did not answer in time; nothing was stored."),
}
OWN_HEADERS: Final = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After"}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The caller's own, if it sent a sane one.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds until it is worth trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
    "Allow": {"required": True, "schema": {"type": "string"}},
    "ETag": {
        "description": "The version, in quotes; what `If-Match` is given.",
        "required": True,
        "schema": {"type": "string", "examples": ['"3"']},
    },
    "X-RateLimit-Limit": {
        "description": "How many turns the tenant has in the window; on every turn.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Remaining": {
        "description": "How many of them are left.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Reset": {
        "description": "When the window ends, in seconds since 1970 UTC.",
        "schema": {"type": "integer"},
    },
}

SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "A key made by `switchboard keys create` or in the console, or a token signed for one"
            " user. `x-roles` names the roles that may call an endpoint."
        ),
    }
}

EVENTS: Final[dict[str, Any]] = {
    # OpenAPI 3.1 has no words for a stream, so this is one event of it, as 3.2 and tools read it.
    "schema": {
        "type": "object",
        "description": "one server-sent event of the stream",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "enum": ["run", "step", "delta", "tool", "done", "error"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    },
    "example": 'event: delta\ndata: {"text": "Hello "}\n\n'
    'event: done\ndata: {"user_id": "user-a", "reply": "Hello Alice", "session_id": "default",'
    ' "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},'
    ' "request_id": "req-1"}\n\n',
}


def info(version: str) -> dict[str, Any]:
    """The document's head."""
    return {
        "title": "Switchboard",
        "version": version,
        "summary": "One agent serving many tenants.",
        "description": (
            "JSON in and out, UTF-8. A tenant is one user of the agent, named by a `user_id`;"
            " each has a memory of its own. Every answer carries `X-Request-Id`. Every failure is"
            " one object: a sentence, a stable code, the request id, and `fields` where input was"
            " wrong; another method than those described gets 405 with `Allow`."
        ),
    }


def tags() -> list[dict[str, str]]:
    """The groups, in the order of the page."""
    return [
        {"name": "Chat", "description": "Turns, and tokens for those who run them."},
        {"name": "Tenants", "description": "Who talks to the agent, and what it remembers."},
        {"name": "Sessions", "description": "A tenant's conversations, one by one."},
        {"name": "Workflows", "description": "Steps of agents and functions, run for one user."},
        {"name": "Metrics", "description": "What happened, for one tenant and for all."},
        {"name": "Server", "description": "Health, and this document."},
    ]


def name_of(status: int) -> str:
    """The failure's name among `components.responses`."""
    return FAILURES[status][0]


def responses() -> dict[str, Any]:
    """Every failure, each with the error object."""
    return {
        name: {
            "description": description,
            "headers": headers(
                "X-Request-Id", *([OWN_HEADERS[status]] if status in OWN_HEADERS else [])
            ),
            "content": {JSON: {"schema": reference(Error)}},
        }
        for status, (name, description) in FAILURES.items()
    }


def headers(*names: str) -> dict[str, Any]:
    """References to the headers of these names."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
