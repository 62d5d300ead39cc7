"""`switchboard db restore`: puts a backup in the place of the database."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from webapp.accounts.audit import AuditEntry
from webapp.cli.asking import YES, confirm
from webapp.cli.output import examples
from webapp.cli.parameters import CLI
from webapp.errors import SwitchboardError
from webapp.redaction import redacted_url
from webapp.services import Services, build_services
from webapp.settings import LoadedSettings, load_settings
from webapp.storage.restoring import require_restorable, restore_database
from webapp.tenants.store import count


@click.command(
    name="restore",
    epilog=examples("switchboard db restore backup.db", "switchboard db restore backup.db --yes"),
)
@click.argument("file", type=click.Path(path_type=Path))
@YES
def command(file: Path, yes: bool) -> None:
    """Puts FILE, a backup, in the place of the database.

    Every server of the database must be stopped. FILE is examined first, and brought to the newest
    schema if it is older. What was there before stays beside it under another name. Stopped at any
    moment, the old database is there whole, or the new one.
    """
    loaded = load_settings()
    url = loaded.values.database_url
    if require_restorable(url, file):
        confirm(f"Put {file} in the place of the database {redacted_url(url)}?", yes)
    with click.progressbar(length=1, label="Restoring", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        done = restore_database(url, file, progress)
    click.echo(f"The database is {file} now: {done.size:,} bytes, examined.")
    if done.kept is not None:
        click.echo(
            f"What was there before is {done.kept}; delete it when you do not need it any more, for"
            " it holds what users said."
        )
    _set_up(loaded)


def _set_up(loaded: LoadedSettings) -> None:
    """Brings an older schema up to date, and notes the act in the audit log.

    The database is there whole already, so what goes wrong from here on is told, not undone.
    """
    try:
        with closing(build_services(loaded)) as services:
            for step in services.upgrade_database():
                click.echo(f"done: {step}")
            services.require_sound_database()
            click.echo(f"It holds {_noted(services):,} tenants.")
    except SwitchboardError as error:
        click.echo(f"warn: the database was restored, but: {error.message}", err=True)
        sys.exit(1)


def _noted(services: Services) -> int:
    entry = AuditEntry(CLI, "restore_database")
    services.database.write(lambda connection: services.audit.record(connection, entry))
    with services.database.read() as connection:
        return count(connection)
