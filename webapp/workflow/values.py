"""What steps hand on to each other: JSON values, with a bound, and as text for a model."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from webapp.errors import InvalidInput, InvalidState
from webapp.session_state.values import text_of, value_of

MAX_VALUE_BYTES = 1024 * 1024


def checked_value(value: object, what: str) -> Any:
    """The value made anew, so that nobody holds a part of it; `InvalidInput` for what is not JSON
    or is too large."""
    if value is None:
        return None
    return value_of(written(value, what))


def written(value: object, what: str) -> str:
    """The value as JSON text."""
    try:
        text = text_of(value)
    except InvalidState:
        raise InvalidInput(
            f"{what} must be a JSON value: text, a number, true, false, null, a list or a dict."
        ) from None
    if len(text.encode()) > MAX_VALUE_BYTES:
        raise InvalidInput(f"{what} is larger than {MAX_VALUE_BYTES} bytes of JSON.")
    return text


def as_text(value: Any) -> str:
    """A value as a model is given it: text as it is, what branches gave under their names."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value:
        return "\n\n".join(f"{name}:\n{as_text(each)}" for name, each in value.items())
    return json.dumps(value, ensure_ascii=False)


def hash_of(*values: Any) -> str:
    """The same for equal values, whatever the order of their names."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
