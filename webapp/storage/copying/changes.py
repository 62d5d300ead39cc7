"""What must be done to a table so that it holds the rows of another: found, gathered, written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from webapp.errors import InvalidInput, StorageUnavailable
from webapp.storage.copying import statements
from webapp.storage.copying.tables import Pair, Portable, Row
from webapp.storage.database import Connection, Database

ROWS_AT_ONCE = 1000
CHARACTERS_AT_ONCE = 4_000_000
# Triggers refuse any other change of these.
APPEND_ONLY = {"audit"}


@dataclass(frozen=True, slots=True)
class Change:
    """A row as the target has it, and as it must be; None stands for no row. Both the same: it is
    there already."""

    there: Row | None
    wanted: Row | None


def differences(form: Portable, wanted: Iterable[Row], there: Iterable[Row]) -> Iterator[Change]:
    """Every row of either side once, in the order of the key; both sides come in that order."""
    rows = iter(there)
    ahead = next(rows, None)
    for row in wanted:
        while ahead is not None and form.key_of(ahead) < form.key_of(row):
            yield Change(ahead, None)
            ahead = next(rows, None)
        if ahead is not None and form.key_of(ahead) == form.key_of(row):
            yield Change(ahead, row)
            ahead = next(rows, None)
        else:
            yield Change(None, row)
    while ahead is not None:
        yield Change(ahead, None)
        ahead = next(rows, None)


@dataclass(slots=True)
class Batch:
    """Changes of one table, written in one transaction."""

    pair: Pair
    takes_nul: bool
    inserted: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    characters: int = 0

    def add(self, change: Change) -> None:
        there, wanted = change.there, change.wanted
        if there is None and wanted is not None:
            self.inserted.append(self._named(wanted))
        elif there is not None and wanted is None:
            self.deleted.append(self._named(there))
        elif wanted is not None and there != wanted:
            self.updated.append(self._named(wanted))

    @property
    def is_full(self) -> bool:
        size = len(self.inserted) + len(self.updated) + len(self.deleted)
        return size >= ROWS_AT_ONCE or self.characters >= CHARACTERS_AT_ONCE

    def write_into(self, target: Database) -> None:
        """Rows that must go are gone first, so that their names are free for others."""
        table = self.pair.target
        update = statements.update(table)

        def work(connection: Connection) -> None:
            for sql, rows in (
                (statements.delete(table), self.deleted),
                (update, self.updated),
                (statements.insert(table), self.inserted),
            ):
                if rows and sql is not None:
                    connection.executemany(sql, rows)

        if not (self.inserted or self.updated or self.deleted):
            return
        if table.name in APPEND_ONLY and (self.updated or self.deleted):
            raise StorageUnavailable(
                f"The target's {table.name} holds other entries than the source's, and they are"
                " never changed; begin again with an empty database."
            )
        try:
            target.write(work)
        except StorageUnavailable as error:
            raise StorageUnavailable(
                f"Rows of {table.name} could not be written into the target: {error.message}"
                " What was copied before is kept; run the same command again to go on.",
                part=error.part,
            ) from error

    def _named(self, row: Row) -> dict[str, Any]:
        for value in row:
            if isinstance(value, str | bytes):
                self.characters += len(value)
                if isinstance(value, str) and "\0" in value and not self.takes_nul:
                    raise InvalidInput(
                        f"A row of {self.pair.name} holds a NUL, which the target cannot keep;"
                        " it was stored by another program. Mend it in the source first."
                    )
        return dict(zip(self.pair.form.columns, row, strict=True))
