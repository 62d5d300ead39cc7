"""The part of `switchboard check` that looks at the database; the others are in check.py."""

from __future__ import annotations

import click

from webapp.access import audit_log
from webapp.accounts import audit
from webapp.errors import StorageUnavailable, SwitchboardError
from webapp.redaction import redacted_url
from webapp.services import build_services
from webapp.settings import LoadedSettings
from webapp.storage import open_database
from webapp.tenant_data.consistency.comparison import Progress, compare
from webapp.tenant_data.consistency.findings import described
from webapp.tenants.store import count


def check_database(url: str, *, thorough: bool) -> str:
    """Where it is. Raises with the first thing that is wrong; prints what is only doubtful."""
    database = open_database(url)
    try:
        version = database.version()
        database.check()
        database.require_ready()
        faults = database.examine(thorough=thorough)
        if faults:
            raise StorageUnavailable(
                f"{' '.join(faults)} Stop every server of it and restore a backup.", part="damaged"
            )
        for doubt in database.doubts():
            click.echo(f"warn   database: {doubt}")
        with database.read() as connection:
            tenants = count(connection)
    except SwitchboardError as error:
        raise SwitchboardError(f"{redacted_url(url)}: {error.message}") from error
    finally:
        database.close()
    number = f"{tenants:,} {'tenant' if tenants == 1 else 'tenants'}"
    return f"{version} at {redacted_url(url)}, {number}"


def check_audit_log(loaded: LoadedSettings) -> str:
    """Its length and head, to be kept elsewhere: an earlier copy of all of it looks like itself."""
    database = open_database(loaded.values.database_url)
    try:
        database.check()
        state = database.read_long(audit_log(loaded).verify)
    finally:
        database.close()
    if isinstance(state, audit.BrokenAt):
        raise SwitchboardError(
            f"The audit log was changed at entry {state.id} ({state.reason}); compare it with a"
            " backup."
        )
    if isinstance(state, audit.NotSealed):
        if loaded.values.secret_key or state.up_to < state.count:
            raise SwitchboardError(state.sentence)
        # A check without the server's key says so, instead of saying that something is wrong.
        click.echo(
            "warn   audit log: every entry follows the one before it, but the seal was not checked:"
            " it is made with a SWITCHBOARD_SECRET_KEY that is not set here"
        )
    return f"{state.count} entries, head {state.head[:16]}"


def check_data(loaded: LoadedSettings, progress: Progress | None = None) -> str:
    """Recounts all that is stored, and compares it with every counter and sum."""
    services = build_services(loaded)
    try:
        services.require_sound_database()
        found = compare(services.database, services.clock.now_ms(), progress)
        told = [described(mismatch, services.directory.named) for mismatch in found.first]
    finally:
        services.close()
    if found.count:
        more = found.count - len(told)
        raise SwitchboardError(
            f"{found.count} counters or sums do not agree with their rows. {' '.join(told)}"
            f"{f' And {more} more.' if more else ''} Restore a backup, or see 'When counters do not"
            " agree' in docs/operating.md; nothing was changed."
        )
    return (
        f"{found.messages:,} messages of {found.tenants:,} tenants; every counter and sum agrees"
        " with its rows"
    )
