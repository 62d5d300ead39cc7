"""A connection to the model's server that is open already; opening one is in connecting.py."""

from __future__ import annotations

import socket
from dataclasses import dataclass

Origin = tuple[str, str, int]  # scheme, host, port


@dataclass(slots=True, eq=False)
class Connection:
    """Carries one request and its answer at a time."""

    sock: socket.socket

    def close(self) -> None:
        self.sock.close()
