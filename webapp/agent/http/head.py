"""The head of a request to the model's server, which is the same at every call but for a length."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httpx2

from webapp.agent.http.connection import Origin
from webapp.agent.http.unpacking import ACCEPTED

LEFT_OUT = frozenset({b"accept-encoding", b"connection", b"content-length", b"transfer-encoding"})


class Unsendable(httpx2.LocalProtocolError):
    """A field of the head would make a second one, or a second request."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a request goes, and its bytes up to the number of its length."""

    origin: Origin
    start: bytes

    @classmethod
    def of(cls, method: str, url: httpx2.URL | str, fields: Mapping[str, str]) -> Head:
        """Of these fields, and Host. A name and a password in the URL are the credential."""
        url = httpx2.URL(url)
        headers = httpx2.Headers(fields)
        if url.userinfo:
            name_and_password = b64encode(unquote_to_bytes(url.userinfo)).decode("ascii")
            headers["Authorization"] = f"Basic {name_and_password}"
        return cls.of_request(httpx2.Request(method, url, headers=headers))

    @classmethod
    def of_request(cls, request: httpx2.Request) -> Head:
        """Of a request that is made already. Raises `Unsendable`."""
        fields = [each for each in request.headers.raw if each[0].lower() not in LEFT_OUT]
        fields.append((b"Accept-Encoding", ACCEPTED))
        lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
        lines += [b"%b: %b" % field for field in fields]
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields):
            raise Unsendable("a line end in the head of the request")
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        return cls((url.scheme, url.host, port), head + b"\r\nContent-Length: ")

    def with_body(self, content: bytes) -> bytes:
        """The whole request in one piece: two writes would be two packets."""
        return b"%b%d\r\n\r\n%b" % (self.start, len(content), content)
