"""The part of `switchboard check` that looks at the database; the others are in check.py."""

from __future__ import annotations

from pathlib import Path

import click

from webapp.errors import StorageUnavailable
from webapp.storage import Database, open_database
from webapp.storage.sqlite_file import fault_with_several_processes, processes_that_use


def check_database(url: str, *, thorough: bool) -> None:
    """Raises with the first thing that is wrong; prints what is only doubtful."""
    database = open_database(url)
    try:
        database.check()
        database.require_ready()
        faults = database.examine(thorough=thorough)
        if faults:
            raise StorageUnavailable(
                f"{' '.join(faults)} Stop every server of it and restore a backup.", part="damaged"
            )
        _tell_doubts(database)
    finally:
        database.close()


def _tell_doubts(database: Database) -> None:
    path = Path(database.url.removeprefix("sqlite:///"))
    if path.stat().st_mode & 0o077:
        click.echo(f"warn   database: others than its owner may read {path}; chmod 600 it.")
    several = len(processes_that_use(path)) > 1
    fault = fault_with_several_processes() if several else None
    if fault is not None:
        click.echo(f"warn   database: several processes use it, and {fault}")
