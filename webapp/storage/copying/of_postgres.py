"""What copying must know of PostgreSQL: its tables, their keys, the numbers that it gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from webapp.storage.copying.tables import Row, Table
from webapp.storage.database import Connection, Database

ROWS_AT_ONCE = 1000
# The record of the schema's steps; what is searched follows by triggers.
_OWN = frozenset({"switchboard_schema", "tenant_search"})
# Which numbers are settled is told by transactions of this very server.
_OWN_COLUMNS = {"usage_rollup": frozenset({"mark", "mark_xid"})}

# Unlogged tables are lost by a crash, so what an installation keeps is in none of them.
_TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
_COLUMNS = """
    SELECT a.attname, COALESCE(array_position(i.indkey::int2[], a.attnum), -1)
    FROM pg_attribute a
    LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_PARENTS = """
    SELECT p.relname FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
    WHERE f.conrelid = CAST(:table AS regclass) AND f.contype = 'f'
"""
# Sequences that belong to a column: of an identity, or made one's own by OWNED BY.
_SEQUENCES = """
    SELECT t.relname, a.attname, s.relname, COALESCE(pg_sequence_last_value(s.oid), 0)
    FROM pg_class s
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_class t ON t.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S' AND n.nspname = current_schema()
"""
_names = itertools.count(1)


class PostgresTables:
    """See `Engine` in tables.py."""

    takes_nul = False

    def is_new(self, database: Database) -> bool:
        with database.read() as connection:
            return connection.execute(f"{_TABLES} LIMIT 1", {}).fetchone() is None

    def tables(self, connection: Connection) -> list[Table]:
        names = connection.execute(_TABLES, {}).fetchall()
        return [_table(connection, name) for (name,) in names if name not in _OWN]

    def rows(self, connection: Connection, sql: str) -> Iterator[Row]:
        """Through a cursor of the transaction, which a pooler lets be; what the rows are needed for
        may take longer than a transaction may be idle otherwise."""
        cursor = f"copied_{next(_names)}"
        connection.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', '0', true)", {}
        )
        connection.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}", {})
        while True:
            rows = connection.execute(f"FETCH {ROWS_AT_ONCE} FROM {cursor}", {}).fetchall()
            yield from rows
            if len(rows) < ROWS_AT_ONCE:
                break
        connection.execute(f"CLOSE {cursor}", {})

    def numbers(self, connection: Connection) -> dict[str, int]:
        return {table: last for table, _, _, last in connection.execute(_SEQUENCES, {}).fetchall()}

    def raise_numbers(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        for table, column, sequence, last in connection.execute(_SEQUENCES, {}).fetchall():
            found = connection.execute(f'SELECT MAX("{column}") FROM "{table}"', {})  # noqa: S608  # nosec B608  # names from the schema
            wanted = max(numbers.get(table, 0), found.fetchone()[0] or 0)
            if wanted > last:
                connection.execute(
                    "SELECT setval(CAST(:sequence AS regclass), :wanted)",
                    {"sequence": f'"{sequence}"', "wanted": wanted},
                )


def _table(connection: Connection, name: str) -> Table:
    table = {"table": f'"{name}"'}
    own = _OWN_COLUMNS.get(name, frozenset())
    columns = [
        (column, place)
        for column, place in connection.execute(_COLUMNS, table).fetchall()
        if column not in own
    ]
    key = sorted((place, column) for column, place in columns if place >= 0)
    parents = connection.execute(_PARENTS, table).fetchall()
    return Table(
        name,
        tuple(column for column, _ in columns),
        tuple(column for _, column in key),
        frozenset(parent for (parent,) in parents) - _OWN,
    )
