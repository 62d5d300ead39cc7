"""A connection inside a unit of work, as the stores know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from webapp.storage.postgres.link import Ask, Link, Outcome

_NOTHING: Mapping[str, Any] = {}


class PostgresConnection:
    """See `Connection` in storage/database.py."""

    __slots__ = ("_known", "link")
    engine = "postgres"

    def __init__(self, link: Link, asks: Sequence[Ask] = ()) -> None:
        """What is asked of `asks` is asked at once, as it is at one moment."""
        self.link = link
        self._known = list(zip(asks, link.read_together(asks), strict=True)) if asks else []

    @property
    def in_transaction(self) -> bool:
        """Whether anything was done in the unit of work so far."""
        return self.link.in_transaction

    def narrow(self, tenant: int) -> None:
        """See storage/narrowing.py."""
        self.link.narrow(tenant)

    def widen(self) -> None:
        """See storage/narrowing.py."""
        self.link.widen()

    def execute(self, sql: str, parameters: Mapping[str, Any] = _NOTHING, /) -> Outcome:
        """See `Connection.execute`."""
        for place, ((known, values), outcome) in enumerate(self._known):
            if known == sql and values == parameters:
                del self._known[place]
                return outcome
        return self.link.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Mapping[str, Any]], /) -> Outcome:
        """See `Connection.executemany`."""
        return self.link.execute_many(sql, parameters)

    def execute_together(self, asks: Sequence[Ask]) -> list[Outcome]:
        """Several statements that do not wait for one another's rows, in one packet."""
        return self.link.execute_together(asks)

    def later(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        check: Callable[[Outcome], None] | None = None,
    ) -> None:
        """Runs the statement with the next one or with the commit; `check` may raise then."""
        self.link.later(sql, parameters, check)
