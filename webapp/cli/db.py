"""`switchboard db`: the schema, and the form of user ids in it."""

from __future__ import annotations

import click

from webapp.cli import user_ids
from webapp.settings import load_settings
from webapp.storage import open_database


@click.group(name="db")
def command() -> None:
    """Make or migrate the database's schema; encrypt user ids."""


@command.command()
def upgrade() -> None:
    """Makes the schema, or brings it up to date; does nothing when it is."""
    database = open_database(load_settings().values.database_url)
    steps = database.upgrade()
    database.close()
    for step in steps:
        click.echo(f"done: {step}")
    click.echo("The schema is up to date.")


command.add_command(user_ids.command)
