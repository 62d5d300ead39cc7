"""`If-Match` and `If-None-Match` of a write, where an entity's tag is its version."""

from __future__ import annotations

import re
from typing import Final

from flask import request

from webapp.errors import InvalidInput
from webapp.session_state.versions import Precondition

# As the answer gave it, weakened by a proxy, or without its quotes.
_ONE: Final = r'(?:W/)?"[^"\x00-\x1f\x7f]*"|[0-9]+'
_LIST: Final = re.compile(rf"(?:{_ONE})(?:\s*,\s*(?:{_ONE}))*")
_VERSION: Final = re.compile(r'(?:W/)?"?(0|[1-9][0-9]{0,17})"?')
_MOST_CHARS: Final = 1000


def precondition() -> Precondition:
    """What the request's headers ask for; `InvalidInput` for what cannot be understood.

    A tag that is no version of ours is one that the state does not have.
    """
    matching = _header("If-Match")
    if matching is None:
        return Precondition(absent=_only_if_absent())
    if matching == "*":
        return Precondition(present=True, absent=_only_if_absent())
    return Precondition(versions=_versions("If-Match", matching), absent=_only_if_absent())


def _only_if_absent() -> bool:
    tags = _header("If-None-Match")
    if tags is None:
        return False
    if tags != "*":
        raise _wrong("If-None-Match", "must be * in a request that writes")
    return True


def _header(name: str) -> str | None:
    value = request.headers.get(name)
    return None if value is None else value.strip()


def _versions(name: str, text: str) -> frozenset[int]:
    if len(text) > _MOST_CHARS or not _LIST.fullmatch(text):
        raise _wrong(name, 'must be a version as ETag gave it, such as "3", or *')
    versions = map(_VERSION.fullmatch, re.findall(_ONE, text))
    return frozenset(int(version[1]) for version in versions if version)


def _wrong(name: str, fault: str) -> InvalidInput:
    sentence = f"{name} {fault}"
    return InvalidInput(sentence, fields={name: sentence})
