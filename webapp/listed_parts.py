"""Reads a list of named parts, some with parameters: `length(input=4000), my_checks:polite`.

What a part is, and which parameters it takes, is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_CHARS = 100_000
_PART = re.compile(
    r"""(?P<name>[^\s,()"']+)(?:\((?P<inside>(?:[^"'()]|"[^"]*"|'[^']*')*)\))?(?=[\s,]|$)"""
)
_PARAMETER = re.compile(
    r"""\s*(?:(?P<key>[a-z_]+)\s*=\s*)?(?P<value>"[^"]*"|'[^']*'|[^\s,"'()=]+)(?:[\s,]+|$)"""
)
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: `words` are its parameters without a name, `values` the others."""

    text: str
    name: str
    words: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_parameters(self) -> bool:
        return bool(self.words or self.values)


def parts_of(text: str) -> tuple[Part, ...]:
    """The parts, apart by commas or white space; raises `ValueError` for what is no such list.

    A parameter with other signs than letters and digits stands in single or double quotes, and is
    taken as it is: there are no escapes.
    """
    if len(text) > MOST_CHARS:
        raise ValueError
    found: list[Part] = []
    place = _past(_BETWEEN, text, 0)
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            raise ValueError
        words, values = _parameters(match["inside"] or "")
        found.append(Part(match[0], match["name"], words, values))
        place = _past(_BETWEEN, text, match.end())
    return tuple(found)


def _parameters(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    words: list[str] = []
    values: dict[str, str] = {}
    text, place = text.strip(), 0
    while place < len(text):
        match = _PARAMETER.match(text, place)
        if match is None or (match["key"] or "") in values:
            raise ValueError
        value = match["value"]
        bare = value[1:-1] if value[0] in "\"'" else value
        if match["key"]:
            values[match["key"]] = bare
        else:
            words.append(bare)
        place = match.end()
    return tuple(words), values


def _past(expression: re.Pattern[str], text: str, place: int) -> int:
    match = expression.match(text, place)
    return place if match is None else match.end()
