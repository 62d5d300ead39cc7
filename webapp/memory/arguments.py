"""What may be handed to a memory: the same checks for every backend; storing is not here."""

from __future__ import annotations

from collections.abc import Iterable

from webapp.errors import InvalidInput
from webapp.ids import check_user_id
from webapp.messages import Message

DEFAULT_USER = "default"


def user_or_default(user_id: str | None) -> str:
    """The id of the user; one that is left out or empty is the default user."""
    if user_id is None or user_id == "":
        return DEFAULT_USER
    return check_user_id(user_id)


def check_messages(messages: Iterable[Message]) -> None:
    """Refuses what is not a message, and text that no encoding of Unicode can hold."""
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"a memory takes messages, not {type(message).__name__}")
        if not isinstance(message.content, str):
            raise TypeError(f"a message's content is a str, not {type(message.content).__name__}")
        texts = [message.content, message.id, message.tool_call_id or ""]
        for call in message.tool_calls:
            texts += (call.id, call.name, call.arguments)
        if not all(text.isascii() or _encodable(text) for text in texts):
            raise not_unicode()


def not_unicode() -> InvalidInput:
    """The refusal of a lone surrogate: UTF-8, and so a database or a model, cannot carry it."""
    sentence = "a message cannot contain a lone surrogate"
    return InvalidInput(sentence, fields={"message": sentence})


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
