"""Reads the audit log for pages and exports, newest first; nothing is verified here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from webapp.accounts.audit import store
from webapp.accounts.audit.entries import AuditFilter, AuditPage, AuditRecord
from webapp.storage import Connection, Database

PAGE = 500


def page(
    connection: Connection,
    chosen: AuditFilter | None = None,
    *,
    before: int | None = None,
    limit: int = 50,
) -> AuditPage:
    """A page of the entries that match, newest first."""
    wanted = chosen or AuditFilter()
    found = store.matching(connection, _parameters(wanted), before=before, limit=limit + 1)
    records = tuple(_record(entry) for entry in found[:limit])
    return AuditPage(records, records[-1].id if len(found) > limit else None)


def export(database: Database, chosen: AuditFilter | None = None) -> Iterator[AuditRecord]:
    """Every entry that matches, newest first, read page by page so that no read is long."""
    before: int | None = None
    while True:
        with database.read() as connection:
            found = page(connection, chosen, before=before, limit=PAGE)
        yield from found.records
        if found.next_before is None:
            return
        before = found.next_before


def _parameters(chosen: AuditFilter) -> dict[str, Any]:
    fields = {name: getattr(chosen, name) for name in AuditFilter.__slots__}
    return {name: value for name, value in fields.items() if value is not None}


def _record(entry: store.StoredEntry) -> AuditRecord:
    before, after = _figures(entry.row[8]), _figures(entry.row[9])
    damaged = not entry.sound or before is None or after is None
    row, figures = entry.row, (before or {}, after or {})
    values: tuple[Any, ...] = (*row[:8], *figures, row[10], entry.hash, damaged)
    return AuditRecord(*values)


def _figures(text: str) -> Mapping[str, Any] | None:
    """The note of an entry; None when it was not written by this code."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
