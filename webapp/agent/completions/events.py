"""The JSON objects in the bytes of an answer, however they are framed; not what they mean.

Source of the framing: the event stream format of the HTML standard, "Server-sent events". What
real servers do beside it is read as well: bare JSON, whole or a line each, events without a blank
line between them, and a last one without its end.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()
LAST = frozenset({"[DONE]", '"[DONE]"', "[done]", "DONE", "done", "[END]"})
# `error` is no field of the standard, but llama.cpp's server had it.
FIELDS = frozenset({b"data", b"event", b"id", b"retry", b"error"})
_FAULT = re.compile(r"\W*(?:internal server error|error|exception|traceback)\b", re.IGNORECASE)


class EventReader:
    """Takes bytes in any pieces and gives the objects that are complete by then.

    Lines end at CR, LF or both, and nowhere else: U+2028 and its kind are part of a text. The
    text is UTF-8, whatever the head says; `charset` from the head is tried where it is not.
    `ended` tells that the server said so itself; what comes after that is not read. `bare` tells
    that an object came without any framing. Raises ValueError for an event that is no JSON though
    it begins like it, and RecursionError for one of absurd depth.
    """

    def __init__(self, charset: str | None = None) -> None:
        self.ended = False
        self.bare = False
        self._charset = charset
        self._rest: list[bytes] = []
        self._after_return = False
        self._first = True
        self._name = b""
        self._data: list[bytes] = []
        self._loose: list[bytes] = []

    def feed(self, piece: bytes) -> list[Object]:
        """The objects whose last byte is in `piece`."""
        if self._after_return or b"\r" in piece:
            piece = self._with_line_feeds(piece)
        lines = piece.split(b"\n")
        if self._rest:
            if len(lines) == 1:
                self._rest.append(piece)
                return []
            lines[0] = b"".join(self._rest) + lines[0]
        last = lines.pop()
        self._rest = [last] if last else []
        found: list[Object] = []
        for line in lines:
            # The way of nearly every line: an object that is complete need not wait for the
            # blank line, which some servers never send.
            value = _object(line) if line[:7] == b"data: {" and not self._data else None
            if value is not None:
                found.append(self._named(value) if self._name else value)
            elif line or self._data or self._name:
                self._line(line, found)
                if self.ended:
                    break
        return found

    def end(self) -> list[Object]:
        """The objects of an event that was unfinished when the last byte came."""
        found: list[Object] = []
        if not self.ended and self._rest:
            self._line(b"".join(self._rest), found)
        self._dispatch(found)
        if self._loose and not self.ended:
            try:
                self._put(_parsed(self._text(b"\n".join(self._loose))), found)
                self.bare = True
            except ValueError:
                pass  # a page of a proxy, say: the reader then reports that the answer is missing
        self._rest, self._loose = [], []
        return found

    def _with_line_feeds(self, piece: bytes) -> bytes:
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_return = False
            if not piece:
                return piece
        if piece:
            self._after_return = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes, found: list[Object]) -> None:
        if self._first:
            line, self._first = line.removeprefix(BYTE_ORDER_MARK), False
        if not line:
            self._dispatch(found)
        elif line[:1] != b":":
            self._other_line(line, found)

    def _other_line(self, line: bytes, found: list[Object]) -> None:
        name, colon, value = line.partition(b":")
        name = name.strip().lower()
        if name not in FIELDS or not (colon or name == b"data"):
            self._loose_line(line, found)
        elif name == b"event":
            self._name = value.strip()
        elif name == b"data":
            value = value.removeprefix(b" ")
            # Two that stand behind one another frame an event twice.
            again = value[:5] == b"data:"
            self._take(value[5:].removeprefix(b" ") if again else value, found)
        elif name == b"error":
            found.append({"error": _said(self._text(value))})

    def _take(self, data: bytes, found: list[Object]) -> None:
        """One line of data; kept until the event ends when it is no object by itself."""
        try:
            value = json.loads(str(data, "utf-8"))
        except ValueError:
            value = None
        if type(value) is dict and not self._data:
            found.append(self._named(value) if self._name else value)
        elif data.strip().decode("ascii", "replace") in LAST:
            self._dispatch(found)
            self.ended = True
        elif data.strip():
            self._data.append(data)

    def _dispatch(self, found: list[Object]) -> None:
        """The event is over; what stood on several lines is read as one, or else line by line."""
        rows, self._data = self._data, []
        if rows:
            try:
                self._put(_parsed(self._text(b"\n".join(rows))), found)
            except ValueError:
                for row in rows:
                    self._odd_row(self._text(row).strip(), found)
        self._name = b""

    def _odd_row(self, row: str, found: list[Object]) -> None:
        try:
            self._put(_parsed(row), found)
        except ValueError:
            if self._name == b"error" or _FAULT.match(row):
                found.append({"error": row})
            elif row[:1] in ("{", "["):
                raise
            # Otherwise a word that keeps the line alive; silence afterwards is found out anyhow.

    def _loose_line(self, line: bytes, found: list[Object]) -> None:
        """JSON without framing: an object on one line is one by itself."""
        if not self._loose and line.lstrip()[:1] == b"{":
            try:
                value = _parsed(self._text(line))
            except ValueError:
                value = None
            if type(value) is dict:
                self.bare = True
                found.append(value)
                return
        self._loose.append(line)

    def _put(self, value: object, found: list[Object]) -> None:
        values = value if isinstance(value, list) else [value]
        found.extend(self._named(each) for each in values if isinstance(each, dict))

    def _named(self, value: Object) -> Object:
        """An event that is called an error is one, also when its data does not say so."""
        return {"error": value} if self._name == b"error" and not value.get("error") else value

    def _text(self, raw: bytes) -> str:
        for charset in ("utf-8", self._charset):
            try:
                return raw.decode(charset or "utf-8")
            except (UnicodeDecodeError, LookupError):
                continue
        return raw.decode("utf-8", "replace")


def objects(body: bytes, charset: str | None = None) -> tuple[list[Object], EventReader]:
    """All objects of an answer that is there as a whole, and the reader that found them."""
    reader = EventReader(charset)
    return reader.feed(body) + reader.end(), reader


def _object(line: bytes) -> Object | None:
    """The object behind the field's name, if it is whole and nothing stands behind it."""
    try:
        text = str(line, "utf-8")
        value, end = _DECODER.raw_decode(text, 6)
    except ValueError:
        return None
    return value if end == len(text) or not text[end:].strip() else None


def _said(text: str) -> object:
    """A fault in JSON or in words."""
    try:
        return _parsed(text) or "unknown"
    except (ValueError, RecursionError):
        return text.strip() or "unknown"


def _parsed(text: str) -> object:
    return json.loads(text)
