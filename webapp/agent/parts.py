"""Checks the arguments of `Agent`; each raises a `ConfigurationError` that says what to pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from webapp.agent.model import Model
from webapp.errors import ConfigurationError

T = TypeVar("T")


def checked_model(agent: str, given: Model | str | None) -> Model:
    """The model itself, or the one of OpenAI's API that a name stands for."""
    if isinstance(given, str) and given.strip():
        # Imported here because it takes more than a second.
        from webapp.agent.openai_model import OpenAIModel

        return OpenAIModel(given)
    # A class is refused as well: it was written without its parentheses.
    if (
        given is None
        or isinstance(given, str | type)
        or not callable(getattr(given, "complete", None))
    ):
        raise ConfigurationError(
            f"The agent '{agent}' needs a model: pass model=\"gpt-4o-mini\","
            " model=OpenAIModel(…), or one of your own with complete and stream."
        )
    return given


def is_text(value: object) -> bool:
    """Asked of what a type checker may not have seen."""
    return isinstance(value, str)


def require_methods(name: str, value: object, methods: tuple[str, ...], instead: str) -> None:
    """The object has the methods that the agent calls."""
    if isinstance(value, type):
        raise ConfigurationError(f"{name} is a class: pass {name}={value.__name__}(…).")
    if not all(callable(getattr(value, m, None)) for m in methods):
        raise ConfigurationError(
            f"{name} has no {' and '.join(methods)}: leave it out, or pass {instead}."
        )


def require_whole(name: str, value: object) -> None:
    """The number is a whole one, at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number, at least 1.")


def all_of(name: str, given: Iterable[T]) -> tuple[T, ...]:
    """A list of parts as a tuple, which cannot be changed."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{name} must be a list: pass {name}=[…], or leave it out.")
    return tuple(given)
