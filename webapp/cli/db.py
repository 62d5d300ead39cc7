"""`switchboard db`: the schema."""

from __future__ import annotations

import click

from webapp.settings import load_settings
from webapp.storage import open_database


@click.group(name="db")
def command() -> None:
    """Make or migrate the database's schema."""


@command.command()
def upgrade() -> None:
    """Makes the schema, or brings it up to date; does nothing when it is."""
    database = open_database(load_settings().values.database_url)
    steps = database.upgrade()
    database.close()
    for step in steps:
        click.echo(f"done: {step}")
    click.echo("The schema is up to date.")
