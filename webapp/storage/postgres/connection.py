"""A connection inside a unit of work, as the stores know it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from webapp.storage.postgres.link import Link, Outcome

_NOTHING: Mapping[str, Any] = {}


class PostgresConnection:
    """See `Connection` in storage/database.py."""

    __slots__ = ("link",)
    engine = "postgres"

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def in_transaction(self) -> bool:
        """Whether anything was done in the unit of work so far."""
        return self.link.in_transaction

    def narrow(self, tenant: int) -> None:
        """See storage/narrowing.py."""
        self.link.narrow(tenant)

    def execute(self, sql: str, parameters: Mapping[str, Any] = _NOTHING, /) -> Outcome:
        """See `Connection.execute`."""
        return self.link.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Mapping[str, Any]], /) -> Outcome:
        """See `Connection.executemany`."""
        return self.link.execute_many(sql, parameters)
