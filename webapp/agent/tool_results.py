"""What a tool gave, as the text that the model reads: bounded, and always text that can be kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from webapp.storable import storable

RESULT_MAX_CHARS = 32_000


class BadResult(Exception):
    """The result cannot be told to the model; the text is the end of a sentence about the tool."""


def text_of(value: object, most: int = RESULT_MAX_CHARS) -> str:
    """A string as it is, bytes as the text that they are, anything else as JSON.

    Of more than `most` characters the first are given, and in words that the rest is cut. Raises
    `BadResult`.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | bytearray | memoryview):
        text = _decoded(bytes(value))
    else:
        text = _json(value)
    return cut(text, most)


def cut(text: str, most: int) -> str:
    """The text in at most `most` characters, with a word about what is cut."""
    if len(text) <= most:
        return storable(text)
    mark = f"\n[cut: the result has {len(text):,} characters, and only its beginning is here]"
    return storable(text[: max(0, most - len(mark))]) + mark


def collected(items: Iterator[Any], most: int) -> object:
    """What a generator gives, as far as it can be told; its end is not waited for beyond that."""
    gathered = Gathered(most)
    for item in items:
        if not gathered.add(item):
            break
    return gathered.value


async def collected_async(items: AsyncIterator[Any], most: int) -> object:
    """The same of an asynchronous generator."""
    gathered = Gathered(most)
    async for item in items:
        if not gathered.add(item):
            break
    return gathered.value


class Gathered:
    """The items of a generator; `value` is one text if all of them are, else a list."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._items: list[Any] = []

    def add(self, item: object) -> bool:
        """Takes the item; False when there is no room for more."""
        self._items.append(item)
        self._size += len(item) if isinstance(item, str) else len(_json(item)) + 1
        return self._size <= self._most

    @property
    def value(self) -> object:
        if self._items and all(isinstance(each, str) for each in self._items):
            return "".join(self._items)
        return self._items


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadResult("gave bytes that are not text.") from None


def _json(value: object) -> str:
    try:
        return to_json(value, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        raise BadResult("gave a result that is neither text nor JSON.") from None
