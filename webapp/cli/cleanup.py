"""`switchboard cleanup`: removes what is inactive, too old or over a limit, when it is asked."""

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
        "switchboard cleanup --max-age 365d",
        "switchboard cleanup --dry-run   # what the settings ask for",
        "switchboard cleanup --inactive 90d --yes   # in a script",
    ),
)
@click.option("--inactive", type=DURATION, help="How long, such as 24h or 30d.")
@click.option(
    "--max-age", type=DURATION, help="Remove messages older than this, whole turns at a time."
)
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
@click.option(
    "--at-most",
    type=click.IntRange(min=1),
    help="How many tenants at once.  [default: a tenth of all, or 1000]",
)
@click.option("--clock-is-right", is_flag=True, help="Believe the clock although it has jumped.")
@YES
def command(
    inactive: float | None,
    max_age: float | None,
    dry_run: bool,
    at_most: int | None,
    clock_is_right: bool,
    yes: bool,
) -> None:
    """Forgets tenants altogether that had no request for so long, blocked ones spared; removes
    messages that are too old; drops the oldest sessions of tenants over their limits.

    With --inactive or --max-age only what they name. Without them all that the settings ask for:
    INACTIVE_AFTER, MESSAGES_MAX_AGE, TENANT_MAX_SESSIONS and TENANT_MAX_MESSAGES.
    """
    _require_a_length(inactive, "--inactive")
    _require_a_length(max_age, "--max-age")
    with opened_services() as services:
        settings = services.settings
        as_set = inactive is None and max_age is None
        if as_set:
            inactive, max_age = settings.inactive_after, settings.messages_max_age
        limited = as_set and bool(settings.tenant_max_sessions or settings.tenant_max_messages)
        if inactive is None and max_age is None and not limited:
            raise click.UsageError(
                "Say what is to go: --inactive or --max-age. The settings name nothing."
            )
        if not clock_is_right and (inactive is not None or max_age is not None):
            _require_likely_clock(services)
        if inactive is not None:
            _forget(services, inactive, at_most, dry_run=dry_run, yes=yes)
        if max_age is not None:
            _drop_old(services, max_age, dry_run=dry_run, yes=yes)
        if limited:
            _drop_excess(services, dry_run=dry_run, yes=yes)


def _forget(
    services: Services, inactive: float, at_most: int | None, *, dry_run: bool, yes: bool
) -> None:
    found = services.acts.cleanup(inactive, at_most=at_most, dry_run=True)
    if dry_run:
        click.echo(f"{found.tenants} tenants with {found.messages} messages are inactive.")
        _tell_what_is_left(found)
        return
    if found.tenants:
        confirm(f"Forget {found.tenants} tenants with {found.messages} messages altogether?", yes)
    with click.progressbar(length=found.tenants, label="Forgetting", file=sys.stderr) as bar:

        def progress(done: Cleanup) -> None:
            bar.update(done.tenants - bar.pos)

        gone = services.acts.cleanup(
            inactive, at_most=at_most, audit=audited(services), progress=progress
        )
    click.echo(f"{gone.tenants} tenants with {gone.messages} messages forgotten.")
    _tell_what_is_left(gone)


def _drop_old(services: Services, max_age: float, *, dry_run: bool, yes: bool) -> None:
    before = services.clock.now_ms() - round(max_age * 1000)
    found = services.session_cleanup.drop_old(before, dry_run=True)
    if dry_run:
        click.echo(f"{found.messages} messages of {found.sessions} sessions are too old.")
        return
    if found.messages:
        confirm(f"Remove {found.messages} old messages of {found.sessions} sessions?", yes)
    gone = services.session_cleanup.drop_old(before, audit=audited(services))
    click.echo(f"{gone.messages} old messages of {gone.sessions} sessions removed.")


def _drop_excess(services: Services, *, dry_run: bool, yes: bool) -> None:
    found = services.session_cleanup.drop_excess(dry_run=True)
    if dry_run:
        click.echo(
            f"{found.sessions} sessions with {found.messages} messages are over their tenants'"
            " limits."
        )
        return
    if found.sessions:
        confirm(f"Drop {found.sessions} sessions with {found.messages} messages?", yes)
    gone = services.session_cleanup.drop_excess(audit=audited(services))
    click.echo(f"{gone.sessions} sessions with {gone.messages} messages dropped.")


def _require_a_length(seconds: float | None, option: str) -> None:
    if seconds is not None and seconds <= 0:
        raise click.BadParameter("must be longer than nothing", param_hint=option)


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
