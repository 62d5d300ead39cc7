"""Reads the head of an HTTP/1.1 answer as servers write it; the body is http.client's business.

http.client refuses more than a hundred fields, of which proxies alone may add some dozens, takes a
103 for a whole answer without a body, and parses each head as an e-mail at ten times the cost.
"""

from __future__ import annotations

import http.client

MAX_HEAD_BYTES = 256 * 1024
MAX_INTERIM = 16
NO_BODY = (204, 304)


class Answer(http.client.HTTPResponse):
    """An answer whose fields are bounded by bytes instead of by number."""

    fields: list[tuple[bytes, bytes]]

    def begin(self) -> None:
        """Reads up to the body, past any interim answers (RFC 9110, 15.2).

        An interim one that is not skipped would leave the real one on the kept connection, for
        the next request: somebody else's.
        """
        for _ in range(MAX_INTERIM):
            self._budget = MAX_HEAD_BYTES
            self.version, self.status, self.reason = self._status_line()
            self.fields = self._fields()
            if self.status >= 200:
                break
        else:
            raise http.client.HTTPException("nothing but interim answers")
        self.headers = self.msg = http.client.HTTPMessage()
        self._find_length()

    def field(self, name: bytes) -> str:
        """A field by its name in small letters, several of them with commas; '' when missing."""
        values = [value for each, value in self.fields if each.lower() == name]
        return b", ".join(values).decode("latin-1")

    def _line(self) -> bytes:
        line = self.fp.readline(self._budget + 1)
        self._budget -= len(line)
        if self._budget < 0:
            raise http.client.HTTPException("the head of the answer is too large")
        return line

    def _status_line(self) -> tuple[int, int, str]:
        line = self._line()
        if not line:
            # http.client's own word for a kept connection that the server has closed.
            raise http.client.RemoteDisconnected("closed without an answer")
        version, _, rest = line.decode("latin-1").strip().partition(" ")
        status, _, reason = rest.strip().partition(" ")
        if not version.startswith("HTTP/1.") or len(status) != 3 or not status.isdecimal():
            raise http.client.BadStatusLine("not an HTTP/1 answer")
        return (10 if version == "HTTP/1.0" else 11), int(status), reason

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        while (line := self._line()) not in (b"\r\n", b"\n"):
            if not line:
                raise http.client.HTTPException("the head of the answer broke off")
            if line[:1] in (b" ", b"\t"):
                if fields:  # the older form of a long field (RFC 9112, 5.2)
                    fields[-1] = fields[-1][0], fields[-1][1] + b" " + line.strip()
                continue
            name, colon, value = line.partition(b":")
            if colon:
                fields.append((name.strip(), value.strip()))
        return fields

    def _find_length(self) -> None:
        """How the body ends (RFC 9112, 6.3): chunks, a length, or the connection's end."""
        # Said twice it was done once, by one of two who both said so; "identity" means none.
        said = self.field(b"transfer-encoding").lower().split(",")
        codings = {coding.strip() for coding in said} - {"", "identity"}
        self.chunked = codings == {"chunked"}
        if codings and not self.chunked:
            raise http.client.HTTPException("a transfer coding that was not asked for")
        self.chunk_left = None
        self.length = None
        lengths = {each.strip() for each in self.field(b"content-length").split(",")} - {""}
        if not self.chunked and lengths:
            if len(lengths) > 1:
                raise http.client.HTTPException("several lengths")
            text = lengths.pop()
            self.length = int(text) if text.isascii() and text.isdecimal() else None
        if self.status in NO_BODY:
            self.chunked, self.length = False, 0
        wishes = self.field(b"connection").lower()
        kept = "close" not in wishes if self.version == 11 else "keep-alive" in wishes
        ends = self.chunked or self.length is not None
        # Both a length and chunks: somebody in between may have understood the other (6.1).
        self.will_close = (
            not kept or not ends or (self.chunked and (bool(lengths) or len(said) > 1))
        )
