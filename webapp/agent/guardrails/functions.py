"""Guardrails made of functions, by decorators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webapp.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class _InputFunction:
    name: str
    check_input: Callable[..., Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class _OutputFunction:
    name: str
    check_output: Callable[..., Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class _ToolFunction:
    name: str
    check_tool_result: Callable[..., Any]
    description: str = ""


def input_guardrail(check: Callable[..., Any]) -> _InputFunction:
    """Makes a function that looks at the question an `InputGuardrail` with the function's name."""
    return _InputFunction(*_of(check))


def output_guardrail(check: Callable[..., Any]) -> _OutputFunction:
    """Makes a function that looks at the answer an `OutputGuardrail` with the function's name."""
    return _OutputFunction(*_of(check))


def tool_guardrail(check: Callable[..., Any]) -> _ToolFunction:
    """Makes a function that looks at what tools gave a `ToolGuardrail` with the function's name."""
    return _ToolFunction(*_of(check))


def _of(check: Callable[..., Any]) -> tuple[str, Callable[..., Any], str]:
    name = getattr(check, "__name__", "")
    if not name:
        raise ConfigurationError("A guardrail is made of a function, which has a name.")
    return name, check, (check.__doc__ or "").strip().partition("\n")[0]
