"""Token counts under the names and in the places where servers put them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.messages import Usage

INPUT = (
    "prompt_tokens",
    "input_tokens",
    "promptTokens",
    "inputTokens",
    "promptTokenCount",
    "inputTokenCount",
    "prompt_token_count",
    "input_token_count",
    "prompt_eval_count",
    "prompt_n",
    "tokens_evaluated",
)
OUTPUT = (
    "completion_tokens",
    "output_tokens",
    "completionTokens",
    "outputTokens",
    "candidatesTokenCount",
    "outputTokenCount",
    "completion_token_count",
    "output_token_count",
    "generated_tokens",
    "eval_count",
    "predicted_n",
    "tokens_predicted",
)
# llama.cpp counts what it had in its cache apart.
CACHED = "cache_n"
TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
PLACES = (
    "usage",
    "usageMetadata",
    "usage_metadata",
    "token_usage",
    "tokens",
    "billed_units",
    "timings",
)
OUTER = ("x_groq", "meta", "metadata", "response_metadata")
INVOCATION = "amazon-bedrock-invocationMetrics"


def usage_in(data: Mapping[str, Any]) -> Usage:
    """The token counts in one object of an answer; zeros where it has none."""
    usage = data.get("usage")
    if type(usage) is dict and "prompt_tokens" in usage and "completion_tokens" in usage:
        return Usage(count(usage["prompt_tokens"]), count(usage["completion_tokens"]))
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (data, *(data.get(name) for name in OUTER), choice):
        if not isinstance(holder, dict):
            continue
        for place in (*(holder.get(name) for name in PLACES), holder.get(INVOCATION)):
            if isinstance(place, dict):
                found = _read(place)
                if not found.total_tokens:
                    found = usage_in(place)
                if found.total_tokens:
                    return found
    return _read(data)


def larger(one: Usage, other: Usage) -> Usage:
    """Of two states of the same count; some begin or end with zeros."""
    return Usage(
        max(one.input_tokens, other.input_tokens), max(one.output_tokens, other.output_tokens)
    )


def count(value: object) -> int:
    """A number of tokens, also one written as text; 0 for what cannot be one."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 13:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**40 else 0


def _read(usage: Mapping[str, Any]) -> Usage:
    asked, given, total = (_first(usage, names) for names in (INPUT, OUTPUT, TOTAL))
    given += count(usage.get("thoughtsTokenCount"))
    asked += count(usage.get(CACHED))
    if not asked:
        asked = max(0, total - given)
    elif not given:
        given = max(0, total - asked)
    return Usage(asked, given)


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((count(usage[name]) for name in names if name in usage), 0)
