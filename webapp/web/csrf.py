"""Protection from forged forms (CSRF): a token bound to a cookie, and the request's origin.

What a browser says of a request's origin is believed (Fetch standard, `Sec-Fetch-Site` and
`Origin`): a page elsewhere can set neither. The token is the second lock, and the only one in
browsers too old to send them.
"""

from __future__ import annotations

import hmac
from typing import Literal
from urllib.parse import urlsplit

from flask import Request

FIELD = "csrf_token"
MAX_TOKEN_CHARS = 128

Origin = Literal["same", "foreign", "unknown"]


def token_for(secret: bytes, bound_to: str) -> str:
    """The token for the holder of this cookie; it does not reveal the cookie."""
    return hmac.digest(secret, b"csrf:" + bound_to.encode("utf-8", "replace"), "sha256").hex()


def is_token_of(secret: bytes, bound_to: str, presented: str) -> bool:
    """Whether the token belongs to the cookie; in constant time."""
    if not bound_to or len(presented) > MAX_TOKEN_CHARS:
        return False
    expected = token_for(secret, bound_to).encode()
    return hmac.compare_digest(expected, presented.encode("utf-8", "replace"))


def origin_of(request: Request) -> Origin:
    """Whether a page of this very site made the request.

    Only the host is compared: behind a proxy that ends TLS the scheme differs.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return "same" if site == "same-origin" else "foreign"
    origin = request.headers.get("Origin")
    if origin is None:
        return "unknown"
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return "foreign"
    return "same" if host and host.lower() == request.host.lower() else "foreign"
