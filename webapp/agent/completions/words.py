"""The text of a server's error, as plain words; their meaning is not judged here.

Only the fields in which servers speak for themselves are read. Others repeat the request or what
the model wrote, and so a user's words could be taken for the server's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from webapp.agent.completions.events import objects

# Their names as they are compared: in lower case, without a line between the words.
SPOKEN = (
    "code",
    "type",
    "status",
    "param",
    "loc",
    "message",
    "msg",
    "error",
    "errors",
    "detail",
    "details",
    "reason",
    "title",
    "description",
    "errorcode",
    "errordescription",
    "errormessage",
    "errormsg",
    "errortype",
    "statusmsg",
    "statusmessage",
    "cause",
    "fault",
    "faultstring",
    "exception",
    "baseresp",
    "header",
    "response",
    "metadata",
    "raw",
)
# The end of a name under which a gateway puts what the server behind it said.
SOMEBODY_ELSES = ("error", "exception")
MAX_BODY = 64 * 1024
MAX_CHARS = 4000
MAX_DEPTH = 8
MAX_ENTRIES = 20
# Where another script touches a word or a number of Latin letters, which is then no word's border.
_SEAM = re.compile(
    r"(?<=[\u3040-\u9fff\uac00-\ud7af])(?=[a-z0-9_])|(?<=[a-z0-9_])(?=[\u3040-\u9fff\uac00-\ud7af])"
)


def words_of_body(body: bytes) -> str:
    """The words in the body of a refusal: JSON, events or plain text, but no page of a proxy."""
    if not body.strip():
        return ""
    text = body[:MAX_BODY].decode("utf-8", "replace").strip()
    try:
        found, _ = objects(body[:MAX_BODY])
    except (ValueError, RecursionError):
        found = []
    if found:
        return words_of(found)
    return "" if text.startswith("<") else words_of(text)


def words_of(said: object) -> str:
    """The first words of a server's message, in lower case; enough to recognise a sentence."""
    try:
        return _SEAM.sub(" ", "\n".join(_spoken(said, 0))[:MAX_CHARS].lower())
    except RecursionError:
        return ""


def _spoken(said: object, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(said, str):
        inner = _json(said)
        if inner is None:
            yield said[:MAX_CHARS]
        else:
            yield from _spoken(inner, depth + 1)
    elif isinstance(said, dict):
        plain = {name.lower().replace("_", ""): value for name, value in said.items()}
        for name in SPOKEN:
            if plain.get(name) is not None:
                yield from _spoken(plain[name], depth + 1)
        for name, value in plain.items():
            if isinstance(value, dict) and name not in SPOKEN and name.endswith(SOMEBODY_ELSES):
                yield from _spoken(value, depth + 1)
    elif isinstance(said, list):
        if said and all(isinstance(each, str | int) for each in said):
            yield " ".join(map(str, said[:MAX_ENTRIES]))  # a place, such as body, tools, 0
            return
        for each in said[:MAX_ENTRIES]:
            yield from _spoken(each, depth + 1)
    elif said is not None:
        yield str(said)


def _json(text: str) -> object:
    """The JSON in a gateway's message: the answer of the server behind it."""
    for start in ("{", "["):
        place = text.find(start)
        if 0 <= place < 200:
            try:
                value, end = json.JSONDecoder().raw_decode(text[:MAX_BODY], place)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) or (isinstance(value, list) and _objects_in(value)):
                around = f"{text[:place]} {text[end:]}".strip()
                return [{"message": around}, value] if around else value
    return None


def _objects_in(values: list[object]) -> bool:
    return any(isinstance(value, dict) for value in values)
