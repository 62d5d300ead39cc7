"""What an engine says about the tables of a database: asked from its schema, never from a list.

So a table that a later step of the schema makes is copied without a word of it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from webapp.errors import StorageUnavailable
from webapp.storage.database import Connection, Database

Row = tuple[Any, ...]

# Names in `meta` that belong to one file or one server, and never to what is kept in it.
OWN_NAMES = ("copying", "wal_link", "write_trial")


@dataclass(frozen=True, slots=True)
class Table:
    """One table as an engine keeps it.

    `derived` are columns that another engine keeps and this one finds in another table, each with
    its SQL; `source` is what the rows are read from then, and `order` the longer key by which they
    come without being sorted. `parents` are the tables that its rows refer to.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    parents: frozenset[str] = frozenset()
    derived: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    order: tuple[str, ...] = ()

    @property
    def readable(self) -> frozenset[str]:
        return frozenset((*self.columns, *self.derived))


@dataclass(frozen=True, slots=True)
class Portable:
    """The form in which the rows of a table are compared: the same columns, in the same order, by
    the same key on both sides."""

    columns: tuple[str, ...]
    key: tuple[str, ...]

    def key_of(self, row: Row) -> Row:
        return row[: len(self.key)]


class Engine(Protocol):
    """What copying must know of an engine. All that takes a connection runs inside its unit."""

    takes_nul: bool

    def is_new(self, database: Database) -> bool:
        """Whether there is nothing at all in the database yet, not even a schema."""
        ...

    def tables(self, connection: Connection) -> list[Table]:
        """All that hold something of the installation, in any order."""
        ...

    def rows(self, connection: Connection, sql: str) -> Iterator[Row]:
        """The statement's rows, read as they are asked for."""
        ...

    def numbers(self, connection: Connection) -> dict[str, int]:
        """The last number that was given to a row, by table, where numbers are given."""
        ...

    def raise_numbers(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        """Lets the next numbers be above these, and above every number that is there."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """One table on both sides."""

    name: str
    source: Table
    target: Table
    form: Portable


def pairs(source: Iterable[Table], target: Iterable[Table]) -> list[Pair]:
    """The tables in the order in which rows can be written: what they refer to comes first.

    Raises `StorageUnavailable` when one side has a table or a column that the other has not.
    """
    here, there = ({table.name: table for table in tables} for tables in (source, target))
    odd = sorted(here.keys() ^ there.keys())
    odd += [
        f"{name}.{column}"
        for name in sorted(here.keys() & there.keys())
        for column in sorted(here[name].readable ^ there[name].readable)
    ]
    if odd:
        raise StorageUnavailable(
            f"The two databases are not of one form: only one of them has {', '.join(odd)}."
        )
    return [
        Pair(name, here[name], there[name], _form(here[name], there[name]))
        for name in _parents_first(there)
    ]


def _form(source: Table, target: Table) -> Portable:
    # Each of the keys tells rows apart, so the longer one does as well, and both have its columns.
    key = max(source.order or source.key, target.order or target.key, key=len)
    return Portable((*key, *sorted(source.readable - set(key))), key)


def _parents_first(tables: Mapping[str, Table]) -> list[str]:
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        for parent in sorted(tables[name].parents - {name}):
            add(parent)
        ordered.append(name)

    for name in sorted(tables):
        add(name)
    return ordered
