"""The title that a session has until a person gives it one: its first question, in short."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from webapp.errors import InvalidInput
from webapp.ids import has_control_characters
from webapp.messages import Message

MAX_TITLE_CHARS = 200
OPENING_CHARS = 60
LOOKED_AT = 400
# Below this part of the room a cut at a word would leave too little: some scripts have no spaces.
_LEAST = OPENING_CHARS // 3
_JOINERS = "\u200c\u200d"
_ELLIPSIS = "…"


def opening_of(messages: Iterable[Message]) -> str | None:
    """The title from the first question among the messages, '' when it has nothing to show; None
    when there is no question."""
    question = next((message.content for message in messages if message.role == "user"), None)
    return None if question is None else shortened(question)


def shortened(text: str) -> str:
    """At most `OPENING_CHARS` characters on one line, cut at a word; '' when nothing is left."""
    # Of a long text the beginning is enough, once the white space before it is gone.
    begin = text[:LOOKED_AT] if not text[:1].isspace() else text.lstrip()[:LOOKED_AT]
    shown = "".join(char if char.isprintable() or char in _JOINERS else " " for char in begin)
    line = " ".join(shown.split()).strip(_JOINERS)
    if len(line) <= OPENING_CHARS and len(begin) < LOOKED_AT:
        return line
    if len(line) < OPENING_CHARS:
        return f"{line}{_ELLIPSIS}" if line else ""
    return f"{line[: _end(line)].rstrip()}{_ELLIPSIS}"


def check_title(title: str) -> str:
    """A title that a person gives, without white space round it; `InvalidInput` when it is none."""
    title = title.strip()
    if not title:
        raise _bad("title cannot be empty")
    if len(title) > MAX_TITLE_CHARS:
        raise _bad(f"title too long (max {MAX_TITLE_CHARS} chars)")
    if has_control_characters(title):
        raise _bad("title cannot contain control characters")
    return title


def _end(line: str) -> int:
    """Where to cut a line that is too long, with room for the ellipsis."""
    room = OPENING_CHARS - len(_ELLIPSIS)
    space = line.rfind(" ", 0, room + 1)
    if space >= _LEAST:
        return space
    # Not between a letter and its marks, nor inside a joined emoji.
    end = room
    while end > _LEAST and _continues(line[end - 1], line[end]):
        end -= 1
    return end


def _continues(before: str, char: str) -> bool:
    return (
        before == "\u200d" or char == "\u200d" or unicodedata.category(char) in ("Mn", "Me", "Mc")
    )


def _bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"title": sentence})
