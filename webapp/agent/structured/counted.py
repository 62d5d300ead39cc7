"""Checks a value against a JSON Schema with a bound on the work: the schema may come from a
stranger with a credential and the value from a model, and each step of jsonschema is Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

from jsonschema import ValidationError, validators

from webapp.agent.structured.patterns import Pattern

MAX_STEPS = 50_000
STEPS_AT_ONCE = 200
MAX_FAULTS = 5
# So much of a pattern times a text takes Rust's engine as long as one step takes here.
LETTERS_A_STEP = 2_000


class TooMuchWork(Exception):
    """Checking this value takes more steps than it may, or is nested too deep."""


@dataclass(slots=True)
class _Work:
    """The steps that one check may still take, and the patterns that it has made."""

    steps: int = MAX_STEPS
    patterns: dict[str, Pattern] = field(default_factory=dict)

    def charge(self, steps: int = 1) -> None:
        before, self.steps = self.steps, self.steps - steps
        if self.steps < 0:
            raise TooMuchWork
        if before // STEPS_AT_ONCE != self.steps // STEPS_AT_ONCE:
            time.sleep(0)  # the other turns of this process go on meanwhile

    def is_in(self, pattern: str, text: str) -> bool:
        known = self.patterns.get(pattern)
        if known is None:
            known = Pattern(pattern)
            self.charge(known.cost)  # a unit of it takes about as long as one step
            known.make()
            self.patterns[pattern] = known
        self.charge(1 + known.size * len(text) // LETTERS_A_STEP)
        return known.is_in(text)


_work: ContextVar[_Work] = ContextVar("switchboard_schema_work")
Faults: TypeAlias = Iterator[ValidationError]
# What jsonschema calls with its validator, the keyword's value, the instance and the schema.
Keyword: TypeAlias = Callable[[Any, Any, Any, Any], "Faults | None"]


def faults_in(validator: Any, value: object) -> list[ValidationError]:
    """The first faults that a validator of a `counted_kind` finds. Raises `TooMuchWork`."""
    kept = _work.set(_Work())
    try:
        return list(islice(validator.iter_errors(value), MAX_FAULTS))
    except (RecursionError, OverflowError):
        raise TooMuchWork from None
    finally:
        _work.reset(kept)


@lru_cache(maxsize=16)  # there are as many as drafts
def counted_kind(kind: Any) -> Any:
    """The validator of a draft, with each step counted and patterns that cannot run away."""
    own: Mapping[str, Keyword] = {
        "additionalProperties": _additional_properties,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: _counted(own.get(name, of)) for name, of in kind.VALIDATORS.items()}
    return validators.extend(kind, keywords)


def _counted(keyword: Keyword) -> Keyword:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Faults | None:
        _work.get().charge(1 + (len(value) if isinstance(value, list) else 0))
        return keyword(validator, value, instance, schema)

    return counted


def _pattern(validator: Any, pattern: Any, instance: Any, _schema: Any) -> Faults:
    if validator.is_type(instance, "string") and not _work.get().is_in(pattern, instance):
        yield ValidationError(f"it does not match {pattern}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Faults:
    if not validator.is_type(instance, "object"):
        return
    for pattern, below in patterns.items():
        for name, value in instance.items():
            if _work.get().is_in(pattern, name):
                yield from validator.descend(value, below, path=name, schema_path=pattern)


def _additional_properties(validator: Any, below: Any, instance: Any, schema: Any) -> Faults:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    is_in = _work.get().is_in
    others = [
        name
        for name in instance
        if name not in named and not any(is_in(pattern, name) for pattern in patterns)
    ]
    if below is False and others:
        yield ValidationError(f"it may not have {', '.join(others)}")
    elif isinstance(below, dict):
        for name in others:
            yield from validator.descend(instance[name], below, path=name)


def _unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Faults:
    if not (wanted and validator.is_type(instance, "array")):
        return
    if len({_hashable(each) for each in instance}) < len(instance):
        yield ValidationError("its items must differ")


def _hashable(value: Any) -> Any:
    """Equal for values that JSON Schema calls equal: 1 is 1.0, and no true."""
    _work.get().charge()
    if isinstance(value, bool):
        return ("truth", value)
    if isinstance(value, dict):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return value
