"""Repairs the arguments of a tool call to a JSON object, where their meaning is beyond doubt.

What is sent back to a model's server must be one: vLLM and others read it, and would refuse every
later turn. What is not clear is told to the model instead of guessed. Whether the arguments fit
the tool is not looked at here.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

# A string, which is left as it is, or a comma with nothing but a bracket behind it.
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*(?:"|\Z))|,(?=\s*[}\]])')
_REST = re.compile(r"(?:[\s,;}\])]|<[^<>]{1,40}>|```)*")
_FENCE = re.compile(r"\s*```\w*\s*")


class BadArgumentsText(Exception):
    """The text is no JSON object, nor can be made one; says what it is instead."""


def sound_arguments(text: str) -> str:
    """The text itself when it is a JSON object, or the object that was meant.

    Mended are: nothing at all, a comma too many, line breaks inside strings, the object packed
    into a string or in a fence, and closing marks behind it. Raises `BadArgumentsText`.
    """
    if not text.strip():
        return "{}"
    try:
        value = _parsed(text)
    except (ValueError, RecursionError):
        value = _mended(text)
    else:
        if isinstance(value, dict):
            return text
    if isinstance(value, str):
        try:
            value = _parsed(value or "{}")
        except (ValueError, RecursionError):
            pass
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise BadArgumentsText("must be a JSON object")
    return json.dumps(value, ensure_ascii=False)


def _mended(text: str) -> object:
    text = _TRAILING_COMMA.sub(lambda found: found[1] or "", _FENCE.sub("", text, count=1))
    start = len(text) - len(text.lstrip())
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_number)
    try:
        value, end = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        raise BadArgumentsText("are not valid JSON") from None
    if not _REST.fullmatch(text, end):
        raise BadArgumentsText("are not valid JSON")
    return value


def _parsed(text: str) -> object:
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
