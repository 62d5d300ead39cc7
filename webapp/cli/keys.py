"""`switchboard keys`: the REST API's keys. A secret is written once, alone on standard output."""

from __future__ import annotations

import json

import click

from webapp.accounts.audit import Actor
from webapp.accounts.key import SCHEME, Key, NewKey
from webapp.accounts.keys import DEFAULT_OVERLAP_SECONDS
from webapp.accounts.roles import ROLES
from webapp.cli.admins import moment
from webapp.cli.opened import opened_services
from webapp.clock import SystemClock
from webapp.settings import parse_duration

CLI = Actor.command_line()


class Duration(click.ParamType[float]):
    """`90s`, `15m`, `24h` or `30d`, as seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()


@click.group(name="keys")
def command() -> None:
    """Keys of the REST API."""


@command.command()
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


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """Lists all keys, without their secrets."""
    with opened_services() as services:
        keys = services.keys.list()
    if as_json:
        click.echo(json.dumps([_as_dict(key) for key in keys], indent=2))
        return
    if not keys:
        click.echo("There are no keys yet; make one with: switchboard keys create.")
        return
    now = SystemClock().now_ms()
    for key in keys:
        used = moment(key.last_used_at) or "never used"
        click.echo(
            f"{key.prefix}  {key.state(now):<7}  {key.role:<8}  {used:<20}  {key.users}  {key.name}"
        )


@command.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Refuses the key from now on, and the tokens that it issued."""
    with opened_services() as services:
        key = services.keys.revoke(_bare(key_id), by=CLI)
    click.echo(f"{key.prefix} is revoked.")


@command.command()
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
        click.echo(json.dumps({**_as_dict(new.key), "secret": new.secret}, indent=2))
        return
    key = new.key
    click.echo(f"{key.prefix}: {key.role} for {key.users}. Its secret is shown only now:", err=True)
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
