"""What a user id and a session id may be; one rule for every door."""

from __future__ import annotations

import unicodedata

from webapp.errors import InvalidInput

MAX_ID_CHARS = 255
DEFAULT_SESSION = "default"


def check_user_id(value: object, field: str = "user_id") -> str:
    """The id itself, when it is one; otherwise `InvalidInput` that names the field.

    1 to 255 characters of any script; no control characters, no surrogates, no `/`, no white
    space at either end, not `.` or `..` (they would vanish from a URL's path).
    """
    if not isinstance(value, str):
        raise _bad(field, f"{field} must be a string")
    if not value:
        raise _bad(field, f"{field} cannot be empty")
    if len(value) > MAX_ID_CHARS:
        raise _bad(field, f"{field} too long (max {MAX_ID_CHARS} chars)")
    if value.isascii() and value.isalnum():
        return value
    if value != value.strip():
        raise _bad(field, f"{field} cannot begin or end with white space")
    if value in (".", ".."):
        raise _bad(field, f"{field} cannot be '.' or '..'")
    if "/" in value:
        raise _bad(field, f"{field} cannot contain '/'")
    if has_control_characters(value):
        raise _bad(field, f"{field} cannot contain control characters")
    return value


def check_session_id(value: object) -> str:
    """A session id follows the same rule as a user id."""
    return check_user_id(value, "session_id")


def has_control_characters(text: str) -> bool:
    """Whether a control character, or half a surrogate pair, is in it."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def _bad(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={field: sentence})
