"""What copying must know of SQLite: its tables, their keys, the numbers that it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from webapp.storage.copying.tables import Row, Table
from webapp.storage.database import Connection, Database

# The record of the schema's steps; what is searched (`tenant_search`) follows by triggers.
_OWN = ("_sqlite_migrations",)
# The tenant's number stands in the row of the session alone. `CROSS JOIN` keeps the order of the
# loops, by which the rows come in this order without being sorted.
_DERIVED: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "messages": (
        {"tenant_id": "sessions.tenant_id", "session": "sessions.id"},
        "sessions CROSS JOIN messages ON messages.session = sessions.id",
        ("tenant_id", "session", "seq"),
    )
}


class SQLiteTables:
    """See `Engine` in tables.py."""

    takes_nul = True

    def is_new(self, database: Database) -> bool:
        path = Path(database.url.removeprefix("sqlite:///"))
        if not path.exists() or path.stat().st_size == 0:
            return True
        with database.read() as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1", {}).fetchone()
        return found is None

    def tables(self, connection: Connection) -> list[Table]:
        names = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            {},
        ).fetchall()
        return [_table(connection, name) for (name,) in names if name not in _OWN]

    def rows(self, connection: Connection, sql: str) -> Iterator[Row]:
        found = connection.execute(sql, {})
        while (row := found.fetchone()) is not None:
            yield row

    def numbers(self, connection: Connection) -> dict[str, int]:
        found = connection.execute("SELECT name, seq FROM sqlite_sequence", {})
        return {name: number for name, number in found.fetchall() if name not in _OWN}

    def raise_numbers(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        """SQLite has raised them above what is there already."""
        own = self.numbers(connection)
        for name, number in numbers.items():
            if name not in own and _gives_numbers(connection, name):
                sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"
            elif number > own.get(name, number):
                sql = "UPDATE sqlite_sequence SET seq = :number WHERE name = :name"
            else:
                continue
            connection.execute(sql, {"name": name, "number": number})


def _table(connection: Connection, name: str) -> Table:
    columns = connection.execute(
        "SELECT name, pk FROM pragma_table_info(:name)", {"name": name}
    ).fetchall()
    key = sorted((place, column) for column, place in columns if place)
    parents = connection.execute(
        'SELECT "table" FROM pragma_foreign_key_list(:name)', {"name": name}
    ).fetchall()
    derived, source, order = _DERIVED.get(name, ({}, "", ()))
    return Table(
        name,
        tuple(column for column, _ in columns),
        tuple(column for _, column in key),
        frozenset(parent for (parent,) in parents),
        derived,
        source,
        order,
    )


def _gives_numbers(connection: Connection, name: str) -> bool:
    found = connection.execute(
        "SELECT sql LIKE '%AUTOINCREMENT%' FROM sqlite_master WHERE name = :name", {"name": name}
    ).fetchone()
    return found is not None and bool(found[0])
