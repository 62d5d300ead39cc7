"""Checks a user's message; which text can be stored at all is in storable.py."""

from __future__ import annotations

from webapp.errors import InvalidInput
from webapp.storable import is_storable


def check_input(text: str) -> str:
    """The user's text itself; raises `InvalidInput` when it is blank or no storable text."""
    if not isinstance(text, str):
        raise _refused("message must be a string")
    if not text.strip():
        raise _refused("message cannot be empty")
    if not is_storable(text):
        raise _refused("message must be Unicode text without NUL characters")
    return text


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"message": sentence})
