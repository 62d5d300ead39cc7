"""`switchboard db`: the schema, and the form of user ids in it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from webapp.cli import db_copy, db_restore, user_ids
from webapp.cli.output import examples
from webapp.services import build_services
from webapp.settings import load_settings
from webapp.storage import open_database
from webapp.storage.restoring import require_file


@click.group(
    name="db", epilog=examples("switchboard db upgrade", "switchboard db backup backup.db")
)
def command() -> None:
    """Make or migrate the database's schema; back up, restore or copy it; encrypt user ids."""


@command.command(epilog=examples("switchboard db upgrade"))
def upgrade() -> None:
    """Makes the schema, or brings it up to date; does nothing when it is."""
    with closing(build_services(load_settings())) as services:
        steps = services.upgrade_database()
    for step in steps:
        click.echo(f"done: {step}")
    click.echo("The schema is up to date.")


@command.command(epilog=examples("switchboard db backup backup.db"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copies the database into FILE while it is in use, and examines the copy.

    FILE must not be there yet; it is for its owner alone. `switchboard db restore FILE` puts it
    back.
    """
    url = load_settings().values.database_url
    require_file(url)
    database = open_database(url)
    try:
        with click.progressbar(length=1, label="Copying", file=sys.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            size = database.back_up(file, progress)
    finally:
        database.close()
    click.echo(f"{file} holds the whole database: {size:,} bytes, examined.")


command.add_command(db_copy.command)
command.add_command(db_restore.command)
command.add_command(user_ids.command)
