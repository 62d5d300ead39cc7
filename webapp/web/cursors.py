"""Cursors of lists: a place in one list, signed, so that it serves that very list and no other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from itsdangerous import BadData, URLSafeSerializer
from pydantic import StringConstraints

from webapp.errors import InvalidInput
from webapp.web.context import services

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Place = TypeVar("Place", bound=DataclassInstance)

# A user id of 255 characters of four bytes, encrypted and spelled in base64 twice, has room.
Cursor = Annotated[str, StringConstraints(max_length=4096)]


def write_cursor(place: DataclassInstance | None, *asked: object) -> str | None:
    """The cursor of a place in the list that `asked` describes: its name, filters and order.

    None for no place: there is no such page.
    """
    return None if place is None else str(_serializer(asked).dumps(astuple(place)))


def read_cursor(cursor: str | None, kind: type[Place], *asked: object) -> Place | None:
    """The place; None without a cursor.

    `InvalidInput` unless it was made with the same `SECRET_KEY` for the very list that is `asked`
    for.
    """
    if cursor is None:
        return None
    try:
        return kind(*_serializer(asked).loads(cursor))
    except (BadData, TypeError, ValueError):
        sentence = "cursor belongs to another list or is out of date; leave it out to begin again"
        raise InvalidInput(sentence, fields={"cursor": sentence}) from None


def _serializer(asked: tuple[Any, ...]) -> URLSafeSerializer:
    return URLSafeSerializer(
        services().cursor_secret,
        salt=json.dumps(asked).encode(),
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )
