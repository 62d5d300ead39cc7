"""Counts rows and sums up what is in them, so that two tables can be compared without each other.

The sum is over values as Python has them, which are the same for every engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from webapp.storage.copying.tables import Row


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows there are, and the SHA-256 of all of them in their order."""

    rows: int
    checksum: str


class Summing:
    """A digest in the making."""

    def __init__(self) -> None:
        self._rows = 0
        self._sum = hashlib.sha256()

    def add(self, row: Row) -> None:
        self._rows += 1
        self._sum.update(repr(row).encode("utf-8", "surrogatepass") + b"\n")

    def digest(self) -> Digest:
        return Digest(self._rows, self._sum.hexdigest())


def digest_of(rows: Iterable[Row]) -> Digest:
    summing = Summing()
    for row in rows:
        summing.add(row)
    return summing.digest()
