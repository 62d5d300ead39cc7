"""The SQL that reads and writes a table of which only the schema's own names are known."""

from __future__ import annotations

from collections.abc import Iterable

from webapp.storage.copying.tables import OWN_NAMES, Portable, Table


def select(table: Table, form: Portable) -> str:
    """All rows in the order of the key."""
    columns = ", ".join(_expression(table, column) for column in form.columns)
    order = ", ".join(_expression(table, column) for column in form.key)
    return f"SELECT {columns} FROM {_source(table)}{_condition(table)} ORDER BY {order}"  # noqa: S608  # nosec B608  # names from the schema


def count(table: Table) -> str:
    return f"SELECT COUNT(*) FROM {quoted(table.name)}{_condition(table)}"  # noqa: S608  # nosec B608  # names from the schema


def first(table: Table) -> str:
    """One row, when there is any."""
    return f"SELECT 1 FROM {quoted(table.name)}{_condition(table)} LIMIT 1"  # noqa: S608  # nosec B608  # names from the schema


def insert(table: Table) -> str:
    columns = ", ".join(map(quoted, table.columns))
    values = ", ".join(f":{column}" for column in table.columns)
    return f"INSERT INTO {quoted(table.name)} ({columns}) VALUES ({values})"  # noqa: S608  # nosec B608  # names from the schema


def update(table: Table) -> str | None:
    """Every column but the key; None when there is no other."""
    rest = [column for column in table.columns if column not in table.key]
    if not rest:
        return None
    return f"UPDATE {quoted(table.name)} SET {_equal(rest, ', ')} WHERE {_by_key(table)}"  # noqa: S608  # nosec B608  # names from the schema


def delete(table: Table) -> str:
    return f"DELETE FROM {quoted(table.name)} WHERE {_by_key(table)}"  # noqa: S608  # nosec B608  # names from the schema


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _by_key(table: Table) -> str:
    return _equal(table.key, " AND ")


def _equal(columns: Iterable[str], between: str) -> str:
    return between.join(f"{quoted(column)} = :{column}" for column in columns)


def _expression(table: Table, column: str) -> str:
    return table.derived.get(column) or f"{quoted(table.name)}.{quoted(column)}"


def _source(table: Table) -> str:
    return table.source or quoted(table.name)


def _condition(table: Table) -> str:
    if table.name != "meta":
        return ""
    names = ", ".join(f"'{name}'" for name in OWN_NAMES)
    return f" WHERE name NOT IN ({names})"
