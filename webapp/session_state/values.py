"""What a session's state may hold: a JSON object, each of its values kept as JSON text.

Text in the place of values means that nobody holds a part of the state: what is read is made anew,
what is set is taken down as it was at that moment, and a whole number stays one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from webapp.errors import InvalidState, StateTooLarge
from webapp.storable import is_storable

MAX_BYTES = 64 * 1024
"""The most that a state takes as compact JSON in UTF-8, unless a setting says otherwise."""

MAX_DEPTH = 64

Fields = dict[str, str]
"""A state: the JSON text of each value, by its key."""


def text_of(value: object) -> str:
    """The value as compact JSON; `InvalidState` for what is not JSON, or is nested too deep."""
    _check(value, 2)
    return _dump(value)


def value_of(text: str) -> Any:
    """The value of such a text, made anew."""
    return json.loads(text)


def fields_of(state: object) -> Fields:
    """A whole state, checked; `InvalidState` for what is not an object of JSON values."""
    if not isinstance(state, Mapping):
        raise InvalidState("The state must be a JSON object.")
    return {checked_key(key): text_of(value) for key, value in state.items()}


def checked_key(key: object) -> str:
    """The key itself, if it can be one."""
    if not isinstance(key, str):
        raise InvalidState(f"A key of the state is text, not {_name(key)}.")
    if not is_storable(key):
        raise _not_text()
    return str(key)


def read_fields(text: str | None) -> Fields:
    """A state as it is stored; None is an empty one."""
    if not text:
        return {}
    state: dict[str, Any] = json.loads(text)
    return {key: _dump(value) for key, value in state.items()}


def write_fields(fields: Mapping[str, str]) -> str | None:
    """A state as it is to be stored: one JSON object, or None for an empty one."""
    if not fields:
        return None
    return "{" + ",".join(f"{_dump(key)}:{value}" for key, value in fields.items()) + "}"


def values_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """The state as an object of the caller's own."""
    return {key: value_of(text) for key, text in fields.items()}


def size_of_field(key: str, text: str) -> int:
    """The bytes of one key and its value, with the colon and the comma."""
    return len(_dump(key).encode()) + len(text.encode()) + 2


def size_of(fields: Mapping[str, str]) -> int:
    """The bytes of a state: what `write_fields` makes of it."""
    return 1 + max(1, sum(size_of_field(key, text) for key, text in fields.items()))


def require_size(size: int, most: int) -> None:
    """`StateTooLarge` for more bytes than that."""
    if size > most:
        raise StateTooLarge(f"The state would be larger than {most} bytes of JSON.")


def _dump(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # The rest has been looked at: this is a number of more digits than Python writes.
        raise InvalidState("The state cannot hold a number of so many digits.") from None


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidState(f"The state cannot be nested deeper than {MAX_DEPTH} levels.")
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, str):
        if not is_storable(value):
            raise _not_text()
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidState("The state cannot hold NaN or an infinite number.")
    elif isinstance(value, dict):
        for key, each in value.items():
            checked_key(key)
            _check(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check(each, depth + 1)
    else:
        raise InvalidState(
            f"The state holds JSON values alone: text, numbers, true, false, null, lists and"
            f" objects, and not {_name(value)}."
        )


def _name(value: object) -> str:
    return type(value).__name__


def _not_text() -> InvalidState:
    return InvalidState("The state cannot hold a NUL or half a surrogate pair.")
