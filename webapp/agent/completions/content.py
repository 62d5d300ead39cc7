"""The text in a message's content, in each shape in which servers send it."""

from __future__ import annotations

import json
from collections.abc import Mapping

THOUGHTS = ("think", "reason", "thought")


def text_of(content: object) -> str:
    """The text that is meant for the user: of a string, a number, a part or a list of parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(map(text_of, content))
    if isinstance(content, Mapping):
        return _part(content)
    return json.dumps(content)


def _part(part: Mapping[str, object]) -> str:
    kind = str(part.get("type") or "")
    if part.get("thought") or any(word in kind for word in THOUGHTS):
        return ""
    for name in ("text", "refusal", "value", "content", "parts"):
        if part.get(name) is not None:
            return text_of(part[name])
    return ""


class Sound:
    """Joins pieces so that no half of a surrogate pair is left: it can be neither stored nor sent.

    JSON can carry each half in an escape of its own, and a server that cuts between them in a
    piece of its own.
    """

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """The piece, with the half that the one before it ended with; U+FFFD for a lonely half."""
        if piece.isascii() and not self._half:
            return piece
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        return whole(piece[: len(piece) - len(self._half)])

    def end(self) -> str:
        half, self._half = self._half, ""
        return whole(half)


def whole(text: str) -> str:
    """The text with its pairs joined, and U+FFFD for what has no other half."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
