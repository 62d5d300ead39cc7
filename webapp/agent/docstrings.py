"""Reads what a docstring says about a function and its parameters; not its types."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

_FIELD = re.compile(r":param\s+(?:[^:\s]+\s+)?(\w+)\s*:\s*(.*)")
_ARGUMENTS = re.compile(r"(?:Args|Arguments|Parameters)\s*:\s*")
_ARGUMENT = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def summary(function: Callable[..., object]) -> str:
    """The first paragraph, on one line; empty when there is no docstring."""
    first = (inspect.getdoc(function) or "").strip().split("\n\n", 1)[0]
    return "" if _is_section(first) else " ".join(first.split())


def parameters(function: Callable[..., object]) -> dict[str, str]:
    """Descriptions by parameter, from an `Args:` section or `:param name:` fields."""
    found: dict[str, str] = {}
    current: str | None = None
    section_indent: int | None = None
    name_indent = 0
    for line in (inspect.getdoc(function) or "").splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if match := _FIELD.match(text):
            current, name_indent = match[1], indent
            found[current] = match[2]
        elif not text:
            current = None
        elif _ARGUMENTS.fullmatch(text):
            section_indent, current = indent, None
        elif current is not None and indent > name_indent:
            found[current] = f"{found[current]} {text}".strip()
        elif section_indent is None or indent <= section_indent:
            section_indent = current = None
        elif match := _ARGUMENT.match(text):
            current, name_indent = match[1], indent
            found[current] = match[2]
    return found


def _is_section(paragraph: str) -> bool:
    first_line = paragraph.split("\n", 1)[0].strip()
    return bool(_ARGUMENTS.fullmatch(first_line) or _FIELD.match(first_line))
