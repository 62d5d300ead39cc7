"""Regular expressions of schemas, by Rust's engine, whose time grows with pattern times text.

It is the one that pydantic brings. What it does not know (looking around, references back) no
engine can check in such time.
"""

from __future__ import annotations

import re

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_CHARS = 500
MAX_SIZE = 2000
# What the patterns of one schema may cost in all, in `Pattern.cost`: about 0.15 s and 45 MB.
MAX_COST = 30_000
# And what one may: pydantic keeps the engines of about 60 patterns that were used last.
MAX_COST_OF_ONE = 2_600
# What a Unicode property costs in Rust's engine, where a dot or a plain class costs 1, which is
# about 5 microseconds and 1.5 KB.
_PROPERTY_COST = 50
# A class of other letters costs 1, and 1 more for so many characters of its own.
_CLASS_CHARS = 10
# Each property of a class is read once more, and turned into all its cases where case is ignored.
_MEMBER_COST = 3
_FOLDED_COST = 25
# A range beyond ASCII may have thousands of letters with another case.
_FOLDED_RANGE_COST = 600
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]|\\[xuUsS]")
_FOLDING = re.compile(r"\(\?[a-zA-Z-]*i")
# An escape, a repetition, a bracket, or any other letter. Rust allows blanks around the numbers.
_PART = re.compile(
    r"\\(?:[pP](?:\{[^}]*\}|.)|[xuU]\{[^}]*\}|.)"
    r"|\{\s*(?P<least>\d*)\s*(?:,\s*(?P<most>\d*)\s*)?\}"
    r"|\((?:\?(?:P?<[^>=!]+>|<?[=!]|(?P<flags>[a-zA-Z-]*):?))?|.",
    re.S,
)
_CLASS_START = re.compile(r"\[\^?(?:-+|\])?")
_PROPERTY = re.compile(r"\\(?:([pP])|.)", re.S)
# In JSON Schema these mean ASCII. In Rust they are all of Unicode, which is large as well.
_ESCAPE = re.compile(r"\\(.)", re.S)
_ASCII = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]", "/": "/"}


class BadPattern(ValueError):
    """The pattern cannot be used; the text continues a sentence about it."""


class Pattern:
    """A pattern that may stand anywhere in a text, measured and not yet made. Raises `BadPattern`.

    `size` is about how many letters it has when its counted repetitions are written out, which
    tells how long a search takes. `cost` is what it takes to make the engine.
    """

    __slots__ = ("_engine", "_pattern", "cost", "size")

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_CHARS:
            raise BadPattern(f"is longer than {MAX_CHARS} characters")
        self._pattern = pattern
        self.size, self.cost = _written_out(pattern)
        if self.size > MAX_SIZE:
            raise BadPattern(f"repeats its parts more than {MAX_SIZE} times in all")
        if self.cost > MAX_COST_OF_ONE:
            raise BadPattern("repeats Unicode properties or large classes too often")

    def make(self) -> None:
        """Makes the engine, which is the dear part. Raises `BadPattern`."""
        plain = _ESCAPE.sub(lambda found: _ASCII.get(found[1], found[0]), self._pattern)
        try:
            self._engine = SchemaValidator(core_schema.str_schema(pattern=plain))
        except SchemaError:
            raise BadPattern(
                "is not a regular expression, or has what cannot be checked in a bounded time"
                " (looking ahead or behind, references back)"
            ) from None

    def is_in(self, text: str) -> bool:
        """Whether a text holds it; it is made before."""
        return self._engine.isinstance_python(text)


def _written_out(pattern: str) -> tuple[int, int]:
    """The size and the cost with all that is repeated written as often as it may stand."""
    groups, last, at = [(0, 0)], (0, 0), 0
    member = _FOLDED_COST if _FOLDING.search(pattern) else _MEMBER_COST
    while at < len(pattern):
        if pattern[at] == "[":
            end = _class_end(pattern, at)
            once, each = _class_cost(pattern[at:end], member)
            last, at = (1, each), end
            groups[-1] = _sum(_sum(groups[-1], last), (0, once))
            continue
        part = _PART.match(pattern, at)
        assert part is not None  # noqa: S101 - its last choice is any letter  # nosec
        at = part.end()
        if part[0][0] == "(":
            if "x" in (part["flags"] or ""):
                raise BadPattern("has the flag x, which is not supported")
            groups.append((0, 0))
            continue
        if part[0] == ")" and len(groups) > 1:
            last = groups.pop()
        elif part["least"] or part["most"]:
            times = max(1, int(part["most"] or part["least"]))
            groups[-1] = _sum(groups[-1], last, times - 1)
            last = _sum((0, 0), last, times)
            continue
        elif part[0] in "*+?":
            continue
        else:
            last = (1, _PROPERTY_COST if part[0][:2] in ("\\p", "\\P") else 1)
        groups[-1] = _sum(groups[-1], last)
    return sum(size for size, _ in groups), sum(cost for _, cost in groups)


def _sum(one: tuple[int, int], other: tuple[int, int], times: int = 1) -> tuple[int, int]:
    return one[0] + other[0] * times, one[1] + other[1] * times


def _class_end(pattern: str, at: int) -> int:
    """Where a class ends, with the classes in it; a bracket that comes first in one is a letter."""
    depth = 0
    while at < len(pattern):
        start = _CLASS_START.match(pattern, at)
        if start is not None:
            depth, at = depth + 1, start.end()
            continue
        if pattern[at] == "]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 2 if pattern[at] == "\\" else 1
    return len(pattern)


def _class_cost(text: str, member: int) -> tuple[int, int]:
    """What a class costs once, and each time that it stands there."""
    if member == _FOLDED_COST and _BEYOND_ASCII.search(text):
        return _FOLDED_RANGE_COST + len(text) * member // 5, _PROPERTY_COST
    properties = sum(found[1] is not None for found in _PROPERTY.finditer(text))
    return properties * member, _PROPERTY_COST if properties else 1 + len(text) // _CLASS_CHARS
