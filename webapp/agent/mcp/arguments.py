"""A model's arguments by a server's JSON schema, which may be anything: checked in bounded time.

The server checks them too. What would be dear or unsafe to check here is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jsonschema import ValidationError

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Fault
from webapp.agent.run_context import RunContext
from webapp.agent.structured.counted import TooMuchWork, faults_in
from webapp.agent.structured.schema_bounds import BadSchema, InvalidSchema, usable_validator
from webapp.agent.tool_arguments import BadArguments

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class SchemaArguments:
    """The arguments of one tool of a server. `schema` is a JSON Schema object, and `validator` is
    None when it cannot be checked here."""

    tool: str
    schema: Mapping[str, Any]
    validator: Any = field(default=None, compare=False, repr=False)

    def read(self, text: str, context: RunContext | None = None) -> dict[str, Any]:
        """The arguments as the model wrote them, and the run's context beside them.

        Raises `BadArguments`. Blank text means no arguments.
        """
        try:
            arguments = json.loads(text, parse_constant=_no_number) if text.strip() else {}
        except (ValueError, RecursionError):
            raise BadArguments(f"The arguments of {self.tool} are not valid JSON.") from None
        if not isinstance(arguments, dict):
            raise BadArguments(f"The arguments of {self.tool} must be a JSON object.")
        if self.validator is not None:
            self._check(arguments)
        return {"arguments": arguments, "context": context}

    def _check(self, arguments: dict[str, Any]) -> None:
        try:
            faults = faults_in(self.validator, arguments)
        except TooMuchWork:
            return  # the server's own check has to do
        if faults:
            raise BadArguments(" ".join(dict.fromkeys(map(self._sentence, faults))))

    def _sentence(self, fault: ValidationError) -> str:
        where = [str(part)[:64] for part in fault.absolute_path]
        if not where and fault.validator == "required":
            missing = [name for name in fault.validator_value if name not in fault.instance]
            return " ".join(f"The argument '{name}' of {self.tool} is missing." for name in missing)
        if not where and fault.validator == "additionalProperties":
            known = self.schema.get("properties", {})
            unknown = [name[:64] for name in fault.instance if name not in known]
            return " ".join(f"{self.tool} has no argument '{name}'." for name in unknown[:3])
        subject = f"The argument '{'.'.join(where)}'" if where else "The arguments"
        reason = str(fault.message)[:300].rstrip(".")
        return f"{subject} of {self.tool} {'is' if where else 'are'} wrong: {reason}."


def schema_of(tool: str, schema: Mapping[str, Any], *, check: bool = True) -> SchemaArguments:
    """The arguments that a server's schema describes; without `check` nothing is looked at but its
    size. Raises `Fault` when it cannot be used."""
    # A model's server wants both.
    schema = {**schema, "type": "object", "properties": schema.get("properties", {})}
    try:
        text = json.dumps(schema)
        too_deep = _depth(schema) > bounds.SCHEMA_MAX_DEPTH
    except (RecursionError, ValueError):
        raise Fault("has a schema that is nested too deep") from None
    if len(text) > bounds.SCHEMA_MAX_CHARS or too_deep:
        raise Fault("has a schema that is too large")
    if any(name in _REFERENCES and not str(to).startswith("#") for name, to in _words(schema)):
        raise Fault("has a schema that refers to another document")
    try:
        validator = _validator(text) if check and len(text) <= bounds.CHECKED_MAX_CHARS else None
    except InvalidSchema:
        raise Fault("has a schema that is no JSON Schema") from None
    return SchemaArguments(tool, schema, validator)


# Making one takes milliseconds, and a server's tools are listed again and again.
@lru_cache(maxsize=512)
def _validator(text: str) -> Any:
    """None for a schema that is one, and cannot be checked here."""
    try:
        return usable_validator(text)
    except InvalidSchema:
        raise
    except BadSchema:
        return None


def _no_number(word: str) -> object:
    raise ValueError(word)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(each) for each in inner), default=0)


def _words(schema: object) -> Iterator[tuple[str, object]]:
    """Every name in a schema with its value, wherever it stands."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
