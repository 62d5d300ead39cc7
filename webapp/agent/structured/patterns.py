"""Regular expressions of schemas, by Rust's engine, whose time grows with pattern times text.

It is the one that pydantic brings. What it does not know (looking around, references back) no
engine can check in such time.
"""

from __future__ import annotations

import re

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_CHARS = 500
MAX_SIZE = 2000
# An escape, a class, a repetition, a bracket, or any other letter.
_PART = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?P<least>\d*)(?:,(?P<most>\d*))?\}|\(\?[a-zA-Z:!=<-]*|.",
    re.S,
)
# In JSON Schema these mean ASCII. In Rust they are all of Unicode, which is large as well.
_ESCAPE = re.compile(r"\\(.)", re.S)
_ASCII = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]", "/": "/"}


class BadPattern(ValueError):
    """The pattern cannot be used; the text continues a sentence about it."""


class Pattern:
    """A pattern that may stand anywhere in a text. Raises `BadPattern`.

    `size` is about how many letters it has when its counted repetitions are written out.
    """

    __slots__ = ("_engine", "size")

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_CHARS:
            raise BadPattern(f"is longer than {MAX_CHARS} characters")
        self.size = _written_out(pattern)
        if self.size > MAX_SIZE:
            raise BadPattern(f"repeats its parts more than {MAX_SIZE} times in all")
        plain = _ESCAPE.sub(lambda found: _ASCII.get(found[1], found[0]), pattern)
        try:
            self._engine = SchemaValidator(core_schema.str_schema(pattern=plain))
        except SchemaError:
            raise BadPattern(
                "is not a regular expression, or has what cannot be checked in a bounded time"
                " (looking ahead or behind, references back)"
            ) from None

    def is_in(self, text: str) -> bool:
        return self._engine.isinstance_python(text)


def _written_out(pattern: str) -> int:
    groups, last = [0], 0
    for part in _PART.finditer(pattern):
        if part[0][0] == "(":
            groups.append(0)
            continue
        if part[0] == ")" and len(groups) > 1:
            last = groups.pop()
        elif part["least"] or part["most"]:
            times = int(part["most"] or part["least"])
            groups[-1] += last * max(0, times - 1)
            last *= times
            continue
        elif part[0] in "*+?":
            continue
        else:
            last = 1
        groups[-1] += last
    return sum(groups)
