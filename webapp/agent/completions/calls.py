"""Assembles tool calls from the pieces in which servers send them; runs none."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.messages import ToolCall

OWN = frozenset({"index", "id", "type", "function"})
NAMES = ("name", "function_name", "tool_name")
OWN_OF_FUNCTION = frozenset({*NAMES, "arguments", "parameters", "input"})
# The spaces in which models put the tools that they were told of.
_SPACE = re.compile(r"\A(?:functions?|tools?|default_api)[.:]")


@dataclass(slots=True)
class _Call:
    id: str = ""
    index: int | None = None
    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    extra_of_function: dict[str, Any] = field(default_factory=dict)

    def is_whole(self) -> bool:
        """Its arguments are an object already, so that more of them belong to another call."""
        return is_object("".join(self.arguments))


class Calls:
    """Takes pieces of calls in the order in which they come.

    OpenAI numbers the calls and names each once. Others leave the number out, give every call the
    same, or give each piece an id of its own; repeat the name in each piece or cut it in two;
    send the arguments as an object, or all of them again in each piece. `known` are the names of
    the tools that the model was told of: between two readings of a name the known one is right.
    """

    def __init__(self, known: Container[str] = ()) -> None:
        self._known = known
        self._calls: list[_Call] = []
        self._begun = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, pieces: object) -> None:
        """Takes the value of `tool_calls` in a message or a piece of one."""
        found = pieces if isinstance(pieces, list) else [pieces]
        several = len(found) > 1
        self._begun = len(self._calls)
        for position, piece in enumerate(found):
            if isinstance(piece, dict):
                self._take(piece, position if several else None)

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls; one without a name or any arguments is none."""
        if not self._calls:
            return ()
        calls = [call for call in self._calls if call.names or "".join(call.arguments).strip("{} ")]
        indices = [call.index for call in calls if call.index is not None]
        if len(set(indices)) == len(calls):
            calls.sort(key=lambda call: call.index or 0)
        return tuple(
            ToolCall(
                call.id, self._name(call.names), _arguments(call.arguments), extra=_extra(call)
            )
            for call in calls
        )

    def _take(self, piece: dict[str, Any], position: int | None) -> None:
        function = piece.get("function")
        if not isinstance(function, dict):
            function = piece  # flat, without the layer in between
        call_id, name = _word(piece.get("id")), _name_in(function)
        arguments = _written(function)
        index = _index(piece.get("index"))
        call = self._find(call_id, index, name, arguments, position)
        if call is None:
            call = _Call(call_id, index)
            self._calls.append(call)
        call.id = call.id or call_id
        if name:
            call.names.append(name)
        if arguments and not (arguments == "".join(call.arguments) and call.is_whole()):
            call.arguments.append(arguments)
        _keep(call.extra, piece, OWN if function is not piece else OWN | OWN_OF_FUNCTION)
        if function is not piece:
            _keep(call.extra_of_function, function, OWN_OF_FUNCTION)

    def _find(
        self, call_id: str, index: int | None, name: str, arguments: str, position: int | None
    ) -> _Call | None:
        """The call that a piece goes on with; None when it begins one."""
        if index is not None:
            call = next((c for c in reversed(self._calls) if c.index == index), None)
        elif call_id:
            call = next((c for c in reversed(self._calls) if c.id == call_id), None)
        elif not name and position is not None and position < len(self._calls):
            call = self._calls[position]
        else:
            call = self._calls[-1] if self._calls else None
            if name and len(self._calls) > self._begun:
                return None  # beside one that the same list began
            if call is not None and name and call.names and self._is_another(call, name):
                return None
        if call is None:
            return None
        if name and call_id and call.id and call_id != call.id:
            return None
        begins = name and call.names and arguments.lstrip()[:1] == "{"
        if begins and call.is_whole() and arguments != "".join(call.arguments):
            return None
        return call

    def _is_another(self, call: _Call, name: str) -> bool:
        """A name without id or number: of a new call, unless it is said again or in pieces."""
        so_far = "".join(call.names)
        if name == call.names[-1] or name.startswith(so_far):
            return False
        return so_far in self._known or bool(call.arguments)

    def _name(self, pieces: list[str]) -> str:
        joined = "".join(pieces)
        last = pieces[-1] if pieces else ""
        for name in (joined, last, *pieces):
            if name in self._known:
                return name
        repeated = len(pieces) > 1 and all(last.startswith(piece) for piece in pieces)
        name = last if repeated else joined
        # Marks of the model's own format, and the namespace that it put before its functions.
        plain = _SPACE.sub("", name.split("<|")[0].strip()).split(":")[0]
        return plain if plain in self._known else name


def is_object(text: str) -> bool:
    """Whether the text is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _arguments(pieces: list[str]) -> str:
    """The pieces joined; the last alone where each piece says all that came before it too."""
    joined = "".join(pieces)
    if len(pieces) < 2 or is_object(joined):
        return joined
    if is_object(pieces[-1]):
        return pieces[-1]
    # An empty object as a placeholder, and the real one after it.
    rest = "".join(pieces[1:])
    return rest if pieces[0].strip() in ("{}", "null") and rest else joined


def _written(function: Mapping[str, Any]) -> str:
    for name in ("arguments", "parameters", "input"):
        value = function.get(name)
        if value is not None:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""


def _name_in(function: Mapping[str, Any]) -> str:
    value = next((function[name] for name in NAMES if function.get(name)), None)
    if isinstance(value, dict):
        value = value.get("name")  # some pack the function into its own name
    return _word(value)


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:9])
    return value if type(value) is int else None


def _word(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _keep(kept: dict[str, Any], piece: Mapping[str, Any], own: frozenset[str]) -> None:
    for key, value in piece.items():
        if key not in own and value is not None:
            before = kept.get(key)
            both = isinstance(before, dict) and isinstance(value, dict)
            kept[key] = {**before, **value} if both else value  # type: ignore[dict-item]


def _extra(call: _Call) -> dict[str, Any] | None:
    """The fields that the server wants back with the call, in its own shape."""
    if call.extra_of_function:
        return {**call.extra, "function": call.extra_of_function}
    return call.extra or None
