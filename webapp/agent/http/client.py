"""The httpx2 client that the openai package is given: it does nothing but carry a call.

httpx2's own looks for cookies, redirects, authentication and hooks at every request, and reads
the address and the header fields anew at each step. Nothing here needs them: the openai package
sets the credential, and which address a redirect leads to is judged in tries.py.
"""

from __future__ import annotations

from typing import Any

import httpx2

KNOWN_ADDRESSES = 64


class DirectClient(httpx2.Client):
    """Gives each request to its transport, and each answer back, as they are."""

    def __init__(self, transport: httpx2.BaseTransport, *, timeout: float) -> None:
        super().__init__(transport=transport, timeout=timeout)
        self._carrier = transport
        self._addresses: dict[str, httpx2.URL] = {}

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        """The request of one call. What a call to a model does not use is left to httpx2."""
        content, headers, timeout = (
            given.pop(name, None) for name in ("content", "headers", "timeout")
        )
        if any(given.values()) or not isinstance(timeout, httpx2.Timeout):
            more = {"content": content, "headers": headers, "timeout": timeout}
            return super().build_request(method, url, **given, **more)
        return httpx2.Request(
            method,
            self._address(str(url)),
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )

    def send(
        self, request: httpx2.Request, *, stream: bool = False, **given: Any
    ) -> httpx2.Response:
        """The answer; whole, unless it is to be streamed."""
        if request.url.userinfo:
            # A name and a password in the address are a credential, which httpx2 knows to send.
            return super().send(request, stream=stream, **given)
        response = self._carrier.handle_request(request)
        response.request = request
        if not stream:
            try:
                response.read()
            finally:
                response.close()
        return response

    def _address(self, text: str) -> httpx2.URL:
        known = self._addresses.get(text)
        if known is None:
            if len(self._addresses) >= KNOWN_ADDRESSES:
                self._addresses.clear()  # redirects may lead to any number of them
            known = self._addresses[text] = httpx2.URL(text)
        return known
