"""A tool's arguments: their JSON Schema and their strict check, from a function's type hints.

A parameter for the run's context is none of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic_core import ErrorDetails

from webapp.agent import docstrings
from webapp.agent.run_context import RunContext
from webapp.errors import ConfigurationError

MAX_FAULTS_TOLD = 5

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class BadArguments(Exception):
    """The model's arguments cannot be used; the text is a sentence for the model."""


class Arguments(Protocol):
    """What a tool's arguments are for a model, and how they are read."""

    @property
    def schema(self) -> Mapping[str, Any]: ...

    def read(self, text: str, context: RunContext | None = None) -> dict[str, Any]:
        """The values by the names of the function's parameters; raises `BadArguments`."""
        ...


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """The arguments of one tool. `schema` is a JSON Schema object.

    `for_context` are the parameters that are given the run's context, and `needs_context` says
    whether the function can be called without one.
    """

    tool: str
    names: tuple[str, ...]
    schema: Mapping[str, Any]
    shape: type[BaseModel]
    for_context: tuple[str, ...] = ()
    needs_context: bool = False

    @classmethod
    def of(cls, function: Callable[..., object], tool: str) -> ToolArguments:
        """Raises `ConfigurationError` for a function that a model cannot call by named values."""
        parameters = _parameters(function, tool)
        by_model = [each for each in parameters if not is_context(each[1])]
        by_us = [each for each in parameters if is_context(each[1])]
        names, fields = [], {}
        told = docstrings.parameters(function)
        for number, (name, hint, default) in enumerate(by_model):
            names.append(name)
            # The field's own name is a neutral one: a parameter may be called `json` or `copy`.
            fields[_field(number)] = (
                Annotated[hint, Field(description=told[name])] if name in told else hint,
                Field(default, alias=name),
            )
        try:
            shape = create_model(tool, __config__=_STRICT, **fields)  # type: ignore[call-overload]
            schema = _without_titles(shape.model_json_schema())
        except PydanticUserError as fault:
            raise ConfigurationError(
                f"The types of the tool '{tool}' have no JSON Schema."
            ) from fault
        schema.setdefault("properties", {})
        return cls(
            tool,
            tuple(names),
            schema,
            shape,
            tuple(name for name, _, _ in by_us),
            any(default is ... for _, _, default in by_us),
        )

    def read(self, text: str, context: RunContext | None = None) -> dict[str, Any]:
        """The checked values by name, the context among them where the function asks for it.

        Raises `BadArguments`. Blank text means no arguments.
        """
        try:
            values = self.shape.model_validate_json(text if text.strip() else "{}")
        except ValidationError as fault:
            raise BadArguments(self._sentence(fault)) from None
        read = {name: getattr(values, _field(number)) for number, name in enumerate(self.names)}
        if context is not None:
            read |= dict.fromkeys(self.for_context, context)
        elif self.needs_context:
            raise BadArguments(f"{self.tool} can only be called in a run.")
        return read

    def _sentence(self, fault: ValidationError) -> str:
        by_argument: dict[str, list[ErrorDetails]] = {}
        for each in fault.errors(include_url=False, include_context=False, include_input=False):
            by_argument.setdefault(str(each["loc"][0]) if each["loc"] else "", []).append(each)
        told = list(by_argument.items())[:MAX_FAULTS_TOLD]
        return " ".join(self._one(argument[:64], faults) for argument, faults in told)

    def _one(self, argument: str, faults: list[ErrorDetails]) -> str:
        kind, depth = faults[0]["type"], len(faults[0]["loc"])
        if kind == "json_invalid":
            return f"The arguments of {self.tool} are not valid JSON."
        if depth == 0:
            return f"The arguments of {self.tool} must be a JSON object."
        if kind == "missing" and depth == 1:
            return f"The argument '{argument}' of {self.tool} is missing."
        if kind == "extra_forbidden" and depth == 1:
            return f"{self.tool} has no argument '{argument}'."
        # A union gives a fault for each of its types; they are about one and the same value.
        reasons = "; ".join(each["msg"] for each in faults[:MAX_FAULTS_TOLD])
        return f"The argument '{argument}' of {self.tool} is wrong: {reasons}."


def is_context(hint: object) -> bool:
    """Whether a parameter with this type is given the run's context; it may be optional."""
    if get_origin(hint) is Annotated:
        return is_context(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [each for each in get_args(hint) if each is not NoneType]
        return len(kinds) == 1 and is_context(kinds[0])
    return hint is RunContext


def _field(number: int) -> str:
    return f"argument_{number}"


def _parameters(function: Callable[..., object], tool: str) -> list[tuple[str, Any, Any]]:
    try:
        signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, ValueError) as fault:
        raise ConfigurationError(f"The type hints of the tool '{tool}' cannot be read.") from fault
    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind not in _NAMED:
            raise ConfigurationError(
                f"The parameter '{name}' of the tool '{tool}' cannot be given by name."
            )
        if name not in hints:
            raise ConfigurationError(f"The parameter '{name}' of the tool '{tool}' has no type.")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        found.append((name, hints[name], default))
    return found


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without pydantic's titles, which repeat the names and cost tokens."""
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title":
            continue
        if key in ("properties", "$defs"):
            cleaned[key] = {name: _without_titles(inner) for name, inner in value.items()}
        elif isinstance(value, dict) and key not in ("default", "const"):
            cleaned[key] = _without_titles(value)
        elif isinstance(value, list) and key in ("anyOf", "allOf", "oneOf", "prefixItems"):
            cleaned[key] = [_without_titles(inner) for inner in value]
        else:
            cleaned[key] = value
    return cleaned
