"""Whether a JSON Schema may be the form of an answer: valid, small, and complete in itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft3Validator, validators
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from webapp.agent.structured.counted import TooMuchWork, counted_kind, faults_in
from webapp.agent.structured.patterns import MAX_COST, BadPattern, Pattern

MAX_BYTES = 32 * 1024
MAX_LEVELS = 32
MAX_CHAIN = 100
MAX_PATTERNS = 50
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_IN_A_LIST = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_ALONE = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
)
# These look at the same value as the schema that they stand in.
_SAME_VALUE = frozenset(
    {"allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"}
)
# What an answer does not need, and what cannot be counted while it is checked.
_REFUSED = (
    "$dynamicRef",
    "$recursiveRef",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
)


class BadSchema(ValueError):
    """The schema cannot be used; the text continues a sentence about it."""


class InvalidSchema(BadSchema):
    """It is no JSON Schema at all."""


def usable_validator(text: str) -> Any:
    """jsonschema's validator of the schema, a JSON text, with its work counted. Raises
    `BadSchema`."""
    if len(text) > MAX_BYTES:
        raise BadSchema(f"is larger than {MAX_BYTES // 1024} KiB")
    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise BadSchema("is not a JSON object")
    _require_levels(schema)
    draft = schema.get("$schema", DRAFT)
    kind = _kind(draft)
    own_name = "id" if "draft-04" in draft else "$id"
    schema.pop(own_name, None)  # references would be looked up under it
    _require_valid(kind, schema)
    _Bounds(schema, draft, own_name).require()
    # A registry of our own: with none, references would be looked up on the network.
    return counted_kind(kind)(schema, registry=Registry())


def _require_levels(schema: object) -> None:
    level = [schema]
    for _ in range(MAX_LEVELS):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise BadSchema(f"is nested deeper than {MAX_LEVELS} levels")


def _kind(draft: object) -> Any:
    named = {"$schema": draft} if isinstance(draft, str) else {"$schema": ""}
    kind = validators.validator_for(named, default=None)
    if kind is None or kind is Draft3Validator:
        raise BadSchema("names no draft of JSON Schema that is known here in $schema")
    return kind


def _require_valid(kind: Any, schema: dict[str, Any]) -> None:
    meta = validators.validator_for(kind.META_SCHEMA, default=kind)
    try:
        faults = faults_in(counted_kind(meta)(kind.META_SCHEMA), schema)
    except TooMuchWork:
        raise BadSchema("is too large to be checked") from None
    if faults:
        place = ".".join(map(str, faults[0].absolute_path))[:200] or "its root"
        raise InvalidSchema(f"is no valid JSON Schema at {place}")


class _Bounds:
    """Looks at each part of a schema once: references and patterns."""

    def __init__(self, schema: dict[str, Any], draft: str, own_name: str) -> None:
        self._schema = schema
        self._own_name = own_name
        resource = Resource.from_contents(schema, default_specification=specification_with(draft))
        self._resolver = Registry().with_resource("", resource).resolver()
        self._patterns = 0
        # What each one costs to make; a check makes it once, wherever it stands.
        self._costs: dict[str, int] = {}
        # The parts that are looked at, and those that are done, by their identity.
        self._open: set[int] = set()
        self._done: set[int] = set()

    def require(self) -> None:
        """Raises `BadSchema`."""
        waiting = [self._schema]
        while waiting:
            part = waiting.pop()
            self._look(part, waiting)

    def _look(self, part: dict[str, Any], waiting: list[dict[str, Any]]) -> None:
        """This part and all that looks at the same value; the others wait."""
        if id(part) in self._open:
            raise BadSchema("has a $ref that leads back to itself")
        if id(part) in self._done:
            return
        if len(self._open) >= MAX_CHAIN:
            raise BadSchema("has a chain of $ref that is too long")
        self._open.add(id(part))
        self._require_plain(part)
        if "$ref" in part:
            target = self._target(part["$ref"])
            if isinstance(target, dict):
                self._look(target, waiting)
        for keyword, inner in _inner(part):
            if keyword in _SAME_VALUE:
                self._look(inner, waiting)
            else:
                waiting.append(inner)
        self._open.discard(id(part))
        self._done.add(id(part))

    def _require_plain(self, part: dict[str, Any]) -> None:
        for keyword in _REFUSED:
            if keyword in part:
                raise BadSchema(f"has {keyword}, which is not supported")
        if isinstance(part.get(self._own_name), str):
            raise BadSchema(f"has an {self._own_name} below its root")
        patterns = [*part.get("patternProperties", ())]
        if isinstance(part.get("pattern"), str):
            patterns.append(part["pattern"])
        for pattern in patterns:
            self._patterns += 1
            if self._patterns > MAX_PATTERNS:
                raise BadSchema(f"has more than {MAX_PATTERNS} patterns")
            if pattern not in self._costs:
                self._require_cheap(pattern)

    def _require_cheap(self, text: str) -> None:
        try:
            pattern = Pattern(text)
            self._costs[text] = pattern.cost
            if sum(self._costs.values()) > MAX_COST:
                raise BadSchema(
                    "has patterns that are too large in all: repeat classes and Unicode"
                    " properties less often"
                )
            pattern.make()
        except BadPattern as bad:
            raise BadSchema(f"has a pattern that {bad}") from None
        time.sleep(0)  # the other turns of this process go on meanwhile

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise BadSchema("has a $ref to another document; only those that begin with # are read")
        try:
            return self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError, RecursionError):
            raise BadSchema(f"has a $ref to {reference[:100]}, which it does not hold") from None


def _inner(part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas inside of one, each with the keyword under which it stands."""
    found = [
        *((key, inner) for key in _BY_NAME for inner in _values(part.get(key))),
        *((key, inner) for key in _IN_A_LIST for inner in _items(part.get(key))),
        *((key, part.get(key)) for key in _ALONE),
    ]
    return ((key, inner) for key, inner in found if isinstance(inner, dict))


def _values(value: object) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
