"""How the form of an answer is asked for: by a field of the request, in words, or by both."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from webapp.agent.completions.refusals import JSON_OBJECT, JSON_SCHEMA, UNTOLD_FORMAT, Part
from webapp.agent.response_format import ResponseFormat


def format_part(wish: ResponseFormat | None, left_out: Container[Part]) -> Part | None:
    """The part of the request that asks for it; None when there is none, or words alone do.

    A server without schemas often holds a model to JSON all the same.
    """
    if wish is None or not wish.is_object:
        return None
    if wish.schema is not None and JSON_SCHEMA not in left_out:
        return JSON_SCHEMA
    return None if JSON_OBJECT in left_out else JSON_OBJECT


def is_told(wish: ResponseFormat, left_out: Container[Part]) -> bool:
    """Whether it stands in the messages: where no schema is sent, and where that did not help.

    OpenAI's API takes `json_object` only with the word JSON in the messages.
    """
    if wish.in_words or UNTOLD_FORMAT in left_out:
        return True
    return format_part(wish, left_out) != JSON_SCHEMA


def format_text(wish: ResponseFormat, left_out: Container[Part]) -> str:
    """The value of `response_format`, as OpenAI's API has it; empty for none."""
    part = format_part(wish, left_out)
    if part is None:
        return ""
    value: dict[str, Any] = {"type": "json_object"}
    if part == JSON_SCHEMA:
        about = {"description": wish.description} if wish.description else {}
        schema = {"name": wish.name, **about, "schema": wish.schema, "strict": wish.strict}
        value = {"type": "json_schema", "json_schema": schema}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
