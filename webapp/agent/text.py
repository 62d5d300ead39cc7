"""Which text can be stored and sent; what comes from models and tools is made so."""

from __future__ import annotations

from webapp.errors import InvalidInput


def storable(text: str) -> str:
    """The text with U+FFFD where it holds a NUL or half a surrogate pair.

    JSON can carry both as escapes, but UTF-8 has no surrogates and PostgreSQL's text no NUL.
    """
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return (
        text.replace("\0", "\ufffd")
        .encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
    )


def check_input(text: str) -> str:
    """The user's text itself; raises `InvalidInput` when it is blank or no storable text."""
    if not isinstance(text, str):
        raise _refused("message must be a string")
    if not text.strip():
        raise _refused("message cannot be empty")
    if text != storable(text):
        raise _refused("message must be Unicode text without NUL characters")
    return text


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"message": sentence})
