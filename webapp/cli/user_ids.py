"""`switchboard db encrypt-user-ids`: moves an existing database to encrypted user ids."""

from __future__ import annotations

import sys

import click

from webapp.cli.asking import YES, confirm_on_terminal
from webapp.cli.output import examples
from webapp.errors import ConfigurationError
from webapp.services import build_services
from webapp.settings import load_settings


@click.command(
    name="encrypt-user-ids",
    epilog=examples("switchboard db encrypt-user-ids", "switchboard db encrypt-user-ids --yes"),
)
@YES
def command(yes: bool) -> None:
    """Encrypts the user ids in the database with SWITCHBOARD_USER_ID_KEY.

    Stop every server of this database first. It can be interrupted and run again.
    """
    from webapp.tenant_data.encryption import encrypt_user_ids
    from webapp.tenants.user_ids.encrypted import EncryptedUserIds

    services = build_services(load_settings())
    try:
        services.database.check()
        user_ids = services.user_ids
        if not isinstance(user_ids, EncryptedUserIds):
            raise ConfigurationError("SWITCHBOARD_USER_ID_KEY is not set; set it first.")
        confirm_on_terminal("Encrypt all user ids? There is no way back.", yes)
        with click.progressbar(length=1, label="Encrypting user ids", file=sys.stderr) as bar:

            def show(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            done = encrypt_user_ids(services.database, user_ids, progress=show)
            bar.update((bar.length or 1) - bar.pos)
    finally:
        services.close()
    click.echo(f"{done:,} user ids were encrypted; every user id in the database is now.")
