"""`switchboard cleanup`: forgets the tenants that have been inactive for so long."""

from __future__ import annotations

import sys

import click

from webapp.cli.asking import YES, confirm
from webapp.cli.opened import opened_services
from webapp.cli.output import examples
from webapp.cli.parameters import DURATION, audit
from webapp.tenants.cleanup import Cleanup


@click.command(
    name="cleanup",
    epilog=examples(
        "switchboard cleanup --inactive 90d --dry-run",
        "switchboard cleanup --inactive 90d",
        "switchboard cleanup --inactive 90d --yes   # in a script",
    ),
)
@click.option("--inactive", type=DURATION, required=True, help="How long, such as 24h or 30d.")
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
@YES
def command(inactive: float, dry_run: bool, yes: bool) -> None:
    """Forgets tenants altogether that had no request for so long; spares blocked ones."""
    if inactive <= 0:
        raise click.BadParameter("must be longer than nothing", param_hint="--inactive")
    with opened_services() as services:
        found = services.directory.cleanup(inactive, dry_run=True)
        if dry_run:
            click.echo(f"{found.tenants} tenants with {found.messages} messages are inactive.")
            return
        if found.tenants:
            confirm(
                f"Forget {found.tenants} tenants with {found.messages} messages altogether?", yes
            )
        with click.progressbar(length=found.tenants, label="Forgetting", file=sys.stderr) as bar:

            def progress(done: Cleanup) -> None:
                bar.update(done.tenants - bar.pos)

            gone = services.directory.cleanup(inactive, audit=audit, progress=progress)
    click.echo(f"{gone.tenants} tenants with {gone.messages} messages forgotten.")
