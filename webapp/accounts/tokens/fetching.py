"""Gets one small document over HTTP within a deadline and a size; what it says is not here."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

DEADLINE_SECONDS = 3.0
MAX_BYTES = 512 * 1024


class Deadline:
    """Ends every connection of one request when its time is over.

    The client's own time-outs start again with every byte, so a head that comes a byte a second
    would never time out. Closing from outside ends TLS and the head alike.
    """

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What the HTTP client calls at each of its steps, by its extension of that name."""
        if event != "connection.connect_tcp.complete":
            return
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            # TLS takes the socket over, so it is a copy that is kept.
            self._connections.append(connection.dup())
        if self.is_over:
            self._end()

    def _end(self) -> None:
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it is over already


def fetch_body(
    url: str, *, seconds: float = DEADLINE_SECONDS, most_bytes: int = MAX_BYTES
) -> bytes:
    """The body behind the URL. Redirects are not followed, and nothing is unpacked.

    Raises OSError when it cannot be reached in time and ValueError when it is not what it should
    be; `seconds` are for all of it, the connection and a slow head included.
    """
    import httpx2  # it takes 70 ms to import, and most installations have no foreign provider

    with Deadline(seconds) as deadline:
        try:
            with (
                httpx2.Client(timeout=seconds, headers={"Accept-Encoding": "identity"}) as client,
                client.stream("GET", url, extensions={"trace": deadline.trace}) as response,
            ):
                if response.status_code != 200:
                    raise ValueError(f"the server answered {response.status_code}")
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise ValueError("the answer is compressed")
                body = b""
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > most_bytes:
                        raise ValueError("the answer is too large")
        except httpx2.HTTPError as error:
            raise OSError("the server cannot be reached") from error
        if deadline.is_over:
            raise TimeoutError  # cut off by us, which can look like the end of the body
        return body
