"""`switchboard tenants`: export and import."""

from __future__ import annotations

import sys
from typing import IO

import click

from webapp.cli.opened import opened_services
from webapp.cli.output import examples
from webapp.cli.parameters import USER_ID, PrivateFile, audited


@click.command(
    epilog=examples(
        "switchboard tenants export user-a --output user-a.jsonl",
        "switchboard tenants export user-a | gzip > user-a.jsonl.gz",
    )
)
@click.argument("user_id", type=USER_ID)
@click.option("--output", type=PrivateFile(), default="-", help="A file; else the terminal.")
@click.option(
    "--include-hidden",
    is_flag=True,
    help="Conversations too where HIDE_CONVERSATIONS keeps them from admins; it is written down.",
)
def export(user_id: str, output: IO[bytes], include_hidden: bool) -> None:
    """Writes everything about one tenant as JSON Lines.

    Where SWITCHBOARD_HIDE_CONVERSATIONS is true, without what the user said.
    """
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        conversations = include_hidden or not services.settings.hide_conversations
        lines = services.acts.export(user_id, conversations=conversations, audit=audited(services))
        length = tenant.message_count + tenant.request_count
        shown = getattr(output, "name", "") == "<stdout>" and sys.stdout.isatty()
        with click.progressbar(
            lines, length=length, label="Exporting", file=sys.stderr, hidden=shown
        ) as bar:
            for line in bar:
                output.write(line)


@click.command(
    name="import",
    epilog=examples(
        "switchboard tenants import user-a user-a.jsonl",
        "gunzip -c user-a.jsonl.gz | switchboard tenants import user-a -",
    ),
)
@click.argument("user_id", type=USER_ID)
@click.argument("file", type=click.File("rb"))
def import_(user_id: str, file: IO[bytes]) -> None:
    """Reads an export from FILE ('-': standard input) into a tenant; all of it or nothing."""
    with opened_services() as services:
        imported = services.acts.import_(user_id, file, audit=audited(services))
    click.echo(
        f"{imported.messages} messages in {imported.sessions} sessions and"
        f" {imported.requests} requests imported."
    )
    if imported.note:
        click.echo(imported.note)
