"""How the form of an answer is asked for: by a field of the request, in words, or by both."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from webapp.agent.completions.refusals import JSON_OBJECT, JSON_SCHEMA, UNTOLD_FORMAT, Part
from webapp.agent.response_format import ResponseFormat

# Between the values of a JSON text a model may write what ends its answers otherwise; inside of
# them a line never begins so.
LLAMA_CPP_STOP = ["\nUser:"]


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


def format_fields(wish: ResponseFormat, left_out: Container[Part]) -> dict[str, Any]:
    """The field of the request, as OpenAI's API has it; empty where words alone ask for it."""
    part = format_part(wish, left_out)
    if part is None:
        return {}
    if part == JSON_OBJECT:
        return {"response_format": {"type": "json_object"}}
    about = {"description": wish.description} if wish.description else {}
    schema = {"name": wish.name, **about, "schema": wish.schema, "strict": wish.strict}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def llama_cpp_fields(wish: ResponseFormat, left_out: Container[Part]) -> dict[str, Any]:
    """The fields of llama.cpp's own API, which hold a model to a schema also where
    `response_format` is overlooked, as it is with `force_pure_content_parser`."""
    if JSON_SCHEMA in left_out:
        return {}
    return {"json_schema": wish.schema or {"type": "object"}, "stop": LLAMA_CPP_STOP}


def as_text(fields: Mapping[str, Any]) -> str:
    """The fields as a part of a JSON object, without its braces."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[1:-1]
