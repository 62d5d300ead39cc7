"""Remembers the numbers of tenants, so that a server can be asked for all of a turn's at once."""

from __future__ import annotations

MOST = 20_000


class SeenTenants:
    """A guess for each user: its tenant's number, and how many messages its agent is sent.

    Whatever is read by a wrong one is not looked at. In the order of the first sight; beyond
    `MOST` the first go.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def get(self, stored_id: str) -> tuple[int, int] | None:
        return self._seen.get(stored_id)

    def put(self, stored_id: str, number: int, newest: int) -> None:
        seen = (number, newest)
        if self._seen.get(stored_id) == seen:
            return
        if len(self._seen) >= MOST:
            self._seen.pop(next(iter(self._seen)), None)
        self._seen[stored_id] = seen
