"""Finds the JSON in a model's answer: alone, in a Markdown fence, or with text around it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_DEPTH = 100
_FENCE = re.compile(r"```[ \t]*(?:json[c5]?|javascript)?[ \t]*\n(.*?)\n[ \t]*```", re.S | re.I)
# The next string, or bracket, inside of a JSON value; a string that does not end is none.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.S)
_START = re.compile(r"[{\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON value in an answer, and its text."""

    text: str
    value: Any


def values_in(text: str) -> Iterator[list[Found]]:
    """The JSON values of an answer, in groups: the ones in a later group count only where none in
    an earlier one is of the wanted form. An answer that was cut off has no value inside of it."""
    text = text.strip()
    whole = _read(text)
    if whole is not None:
        yield [whole]
        return
    fenced = [_read(match[1].strip()) for match in _FENCE.finditer(text)]
    if any(fenced):
        yield [each for each in fenced if each is not None]
    yield [each for piece in _bracketed(text) if (each := _read(piece)) is not None]


def _bracketed(text: str) -> Iterator[str]:
    """What stands between outer brackets, one after the other, up to one that does not close."""
    place = 0
    while (start := _START.search(text, place)) is not None:
        depth = 0
        for token in _TOKEN.finditer(text, start.start()):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
            elif token[0] == '"':
                return
            if depth == 0:
                place = token.end()
                break
        else:
            return
        yield text[start.start() : place]


def _read(text: str) -> Found | None:
    """The text as one value that can be stored and sent; None when it is no such JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if not _is_shallow(value):
            return None
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return None
    return Found(text, value)


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return True
        level = below
    return False


def _refuse(name: str) -> NoReturn:
    """Python takes NaN and Infinity for JSON."""
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number
