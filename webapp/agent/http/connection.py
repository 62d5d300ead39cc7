"""A connection to the model's server that is open already; opening one is in connecting.py."""

from __future__ import annotations

import socket

from webapp.agent.http.answer import Answer

Origin = tuple[str, str, int]  # scheme, host, port


class Connection:
    """Carries one request and its answer at a time."""

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def answer(self, method: str) -> Answer:
        """The answer to what was sent, up to its body. Raises `http.client.HTTPException`."""
        answer = Answer(self.sock, method=method)
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        self.sock.close()
