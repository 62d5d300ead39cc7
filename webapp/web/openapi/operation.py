"""What the OpenAPI document says about one endpoint, as a value; the table is operations.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
TEXT = "text/plain"
HTML = "text/html"

Dialect = Literal["switchboard", "openai", "a2a"]


@dataclass(frozen=True, slots=True)
class Header:
    """A header that the caller may send."""

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no failure. Without a `shape` it is text, described by its media type."""

    description: str
    shape: type[BaseModel] | None = None
    media: str = JSON
    also: tuple[str, ...] = ()
    """Other media types that the same answer may come in, as plain text."""
    headers: tuple[str, ...] = ()
    """Names in `components.headers` that are always there."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint. Its path, method, guard and settings are read from the application.

    `failures` adds to the statuses that follow from the rest: a guard means 401 and 403, a body
    400, 413 and 415, and so on; see document.py.
    """

    id: str
    summary: str
    tag: str
    replies: dict[int, Reply]
    body: type[BaseModel] | None = None
    body_media: str = JSON
    body_note: str = ""
    query: type[BaseModel] | None = None
    headers: tuple[Header, ...] = ()
    failures: tuple[int, ...] = ()
    details: str = ""
    dialect: Dialect = "switchboard"
    example: dict[str, Any] = field(default_factory=dict)
