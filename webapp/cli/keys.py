"""`switchboard keys`: the REST API's keys. A secret is written once, alone on standard output."""

from __future__ import annotations

import click

from webapp.accounts.keys import DEFAULT_OVERLAP_SECONDS
from webapp.accounts.keys.key import SCHEME, Key, NewKey
from webapp.accounts.roles import ROLES
from webapp.cli.asking import YES, confirm_on_terminal
from webapp.cli.opened import opened_services
from webapp.cli.output import (
    AS_JSON,
    Column,
    examples,
    moment,
    write_json,
    write_json_list,
    write_table,
)
from webapp.cli.parameters import CLI, DURATION
from webapp.cli.text import visible
from webapp.clock import SystemClock

KEYS = (
    Column("ID"),
    Column("STATE"),
    Column("ROLE", dispensable=1),
    Column("USERS", flexible=True, dispensable=2),
    Column("NAME", flexible=True),
    Column("LAST USED", dispensable=3, time=True),
    Column("EXPIRES", dispensable=4, time=True),
)


@click.group(
    name="keys",
    epilog=examples(
        "switchboard keys create backend --role chat --users '*'", "switchboard keys list"
    ),
)
def command() -> None:
    """Keys of the REST API."""


@command.command(
    epilog=examples(
        "switchboard keys create backend --role chat --users '*' > backend.key",
        "switchboard keys create acme --role viewer --users 'org-acme-*' --expires 90d",
    )
)
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES))
@click.option(
    "--users",
    required=True,
    metavar="PATTERN",
    help="For whom it speaks: one user id, a prefix such as 'org-acme-*', or '*'.",
)
@click.option("--expires", type=DURATION, help="How long it is good for, such as 90d.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, the secret included.")
def create(name: str, role: str, users: str, expires: float | None, as_json: bool) -> None:
    """Makes a key called NAME and shows its secret, this once."""
    with opened_services() as services:
        end = None if expires is None else SystemClock().now_ms() + round(expires * 1000)
        new = services.keys.create(name, role=role, users=users, by=CLI, expires_at=end)
    _show(new, as_json)


@command.command(name="list", epilog=examples("switchboard keys list --json"))
@AS_JSON
def list_(as_json: bool) -> None:
    """Lists all keys, without their secrets."""
    with opened_services() as services:
        keys = services.keys.list()
    if as_json:
        write_json_list(map(_as_dict, keys))
        return
    now = SystemClock().now_ms()
    rows = (
        (
            key.prefix,
            key.state(now),
            key.role,
            key.users,
            key.name,
            moment(key.last_used_at) or "never",
            moment(key.expires_at) or "never",
        )
        for key in keys
    )
    if not write_table(KEYS, rows):
        click.echo("There are no keys yet; make one with: switchboard keys create.", err=True)


@command.command(epilog=examples("switchboard keys revoke sb_0123456789ab"))
@click.argument("key_id", metavar="ID")
@YES
def revoke(key_id: str, yes: bool) -> None:
    """Refuses the key from now on, and the tokens that it issued; asks on a terminal."""
    with opened_services() as services:
        for known in services.keys.list():
            if known.id == _bare(key_id) and known.revoked_at is None:
                used = moment(known.last_used_at) or "never"
                question = f"Revoke {known.prefix} ({known.name}, last used: {used}) for good?"
                confirm_on_terminal(question, yes)
        key = services.keys.revoke(_bare(key_id), by=CLI)
    click.echo(f"{key.prefix} is revoked.")


@command.command(
    epilog=examples("switchboard keys rotate sb_0123456789ab --overlap 24h > backend.key")
)
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    type=DURATION,
    default=f"{DEFAULT_OVERLAP_SECONDS:.0f}s",
    show_default="24h",
    help="How long the old key goes on working; 0s revokes it at once.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, the secret included.")
def rotate(key_id: str, overlap: float, as_json: bool) -> None:
    """Makes a new key in place of this one and shows its secret, this once."""
    with opened_services() as services:
        new = services.keys.rotate(_bare(key_id), by=CLI, overlap_seconds=overlap)
    _show(new, as_json)


def _bare(key_id: str) -> str:
    """The id, when it came with its prefix as lists show it."""
    return key_id.removeprefix(f"{SCHEME}_")


def _show(new: NewKey, as_json: bool) -> None:
    if as_json:
        write_json({**_as_dict(new.key), "secret": new.secret})
        return
    key = new.key
    click.echo(
        f"{key.prefix}: {key.role} for {visible(str(key.users))}. Its secret is shown only now:",
        err=True,
    )
    click.echo(new.secret)


def _as_dict(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "role": key.role,
        "users": str(key.users),
        "state": key.state(SystemClock().now_ms()),
        "created_at": moment(key.created_at),
        "created_by": key.created_by,
        "expires_at": moment(key.expires_at),
        "last_used_at": moment(key.last_used_at),
        "revoked_at": moment(key.revoked_at),
        "rotated_from": key.rotated_from,
    }
