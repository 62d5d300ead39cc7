"""`switchboard cleanup`: forgets the tenants that have been inactive for so long."""

from __future__ import annotations

import sys

import click

from webapp.cli.keys import DURATION
from webapp.cli.opened import opened_services
from webapp.cli.tenants import audit
from webapp.tenants.cleanup import Cleanup


@click.command(name="cleanup")
@click.option("--inactive", type=DURATION, required=True, help="How long, such as 24h or 30d.")
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
def command(inactive: float, dry_run: bool) -> None:
    """Forgets tenants altogether that had no request for so long; spares blocked ones."""
    if inactive <= 0:
        raise click.BadParameter("must be longer than nothing", param_hint="--inactive")
    with opened_services() as services:
        found = services.directory.cleanup(inactive, dry_run=True)
        if dry_run:
            click.echo(f"{found.tenants} tenants with {found.messages} messages are inactive.")
            return
        with click.progressbar(length=found.tenants, label="Forgetting", file=sys.stderr) as bar:

            def progress(done: Cleanup) -> None:
                bar.update(done.tenants - bar.pos)

            gone = services.directory.cleanup(inactive, audit=audit, progress=progress)
    click.echo(f"{gone.tenants} tenants with {gone.messages} messages forgotten.")
