"""Gunicorn's writer of answers, with the head and the first of the body in one packet."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

from gunicorn.http import wsgi


class Response(wsgi.Response):
    """Writes one answer to a `Client`."""

    def write(self, arg: bytes) -> None:
        if self.headers_sent:
            super().write(arg)
            return
        client: Any = self.sock
        client.hold()
        try:
            super().write(arg)
        finally:
            client.release()

    def default_headers(self) -> list[str]:
        """As gunicorn has them, but that no answer here changes the protocol."""
        major, minor = self.req.version or (1, 1)
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date(int(time.time()))}\r\n",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines


class _Dates(dict[int, str]):
    """The last second as text: all answers of a second say the same."""

    def __missing__(self, second: int) -> str:
        self.clear()
        self[second] = formatdate(second, usegmt=True)
        return self[second]


_dates = _Dates()


def _date(second: int) -> str:
    return _dates[second]
