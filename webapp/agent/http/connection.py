"""A connection to the model's server that is open already; opening one is in connecting.py."""

from __future__ import annotations

import http.client

from webapp.agent.http.answer import Answer

Origin = tuple[str, str, int]  # scheme, host, port


class Connection(http.client.HTTPConnection):
    """Sends a request's head and body in one piece, where http.client makes two packets of it."""

    response_class = Answer

    def begin(self) -> None:
        self._pieces: list[bytes] = []

    def send(self, data: bytes) -> None:  # type: ignore[override]  # we give it nothing else
        self._pieces.append(data)

    def flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        self.sock.sendall(b"".join(pieces))

    def answer(self) -> Answer:
        """The answer up to its body."""
        answer = self.getresponse()
        assert isinstance(answer, Answer)  # noqa: S101  # nosec B101  # its class is set above
        return answer
