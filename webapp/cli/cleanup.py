"""`switchboard cleanup`: forgets the tenants that have been inactive for so long."""

from __future__ import annotations

import sys

import click

from webapp.cli.asking import YES, confirm
from webapp.cli.opened import opened_services
from webapp.cli.output import examples
from webapp.cli.parameters import DURATION, audited
from webapp.clock_watch import JUMP_SECONDS
from webapp.errors import Conflict
from webapp.housekeeping import last_run
from webapp.periods import iso_utc
from webapp.services import Services
from webapp.tenant_data.cleanup import Cleanup


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
@click.option(
    "--at-most",
    type=click.IntRange(min=1),
    help="How many at once.  [default: a tenth of all, or 1000]",
)
@click.option("--clock-is-right", is_flag=True, help="Believe the clock although it has jumped.")
@YES
def command(
    inactive: float, dry_run: bool, at_most: int | None, clock_is_right: bool, yes: bool
) -> None:
    """Forgets tenants altogether that had no request for so long; spares blocked ones."""
    if inactive <= 0:
        raise click.BadParameter("must be longer than nothing", param_hint="--inactive")
    with opened_services() as services:
        if not clock_is_right:
            _require_likely_clock(services)
        found = services.acts.cleanup(inactive, at_most=at_most, dry_run=True)
        if dry_run:
            click.echo(f"{found.tenants} tenants with {found.messages} messages are inactive.")
            _tell_what_is_left(found)
            return
        if found.tenants:
            confirm(
                f"Forget {found.tenants} tenants with {found.messages} messages altogether?", yes
            )
        with click.progressbar(length=found.tenants, label="Forgetting", file=sys.stderr) as bar:

            def progress(done: Cleanup) -> None:
                bar.update(done.tenants - bar.pos)

            gone = services.acts.cleanup(
                inactive, at_most=at_most, audit=audited(services), progress=progress
            )
    click.echo(f"{gone.tenants} tenants with {gone.messages} messages forgotten.")
    _tell_what_is_left(gone)


def _tell_what_is_left(done: Cleanup) -> None:
    """So that a wrong clock, or a wrong length of time, does not cost everything at once."""
    if done.left:
        click.echo(
            f"{done.left} more are as inactive, and stay: one run forgets a tenth of all tenants,"
            " or 1000, unless --at-most says otherwise."
        )


def _require_likely_clock(services: Services) -> None:
    """A clock far ahead of what a server saw makes everybody look silent."""
    with services.database.read() as connection:
        seen = last_run(connection)
    ahead = 0.0 if seen is None else (services.clock.now_ms() - seen) / 1000
    if ahead > 2 * services.settings.cleanup_interval + JUMP_SECONDS:
        raise Conflict(
            f"The clock is {ahead / 3600:.0f} hours ahead of when a server of this database last"
            f" looked at it ({iso_utc(seen or 0)}). If no server ran for so long and the clock is"
            " right, add --clock-is-right."
        )
