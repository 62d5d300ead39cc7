"""`switchboard admins`: the console's accounts. A password never is an argument."""

from __future__ import annotations

import sys

import click

from webapp.accounts.admins import Admin, check_admin_name
from webapp.accounts.admins.passwords import check_new_password
from webapp.accounts.roles import ADMIN_ROLES
from webapp.cli.asking import YES, confirm_on_terminal
from webapp.cli.opened import opened_services
from webapp.cli.output import AS_JSON, Column, examples, moment, write_json_list, write_table
from webapp.cli.parameters import CLI
from webapp.errors import InvalidInput

ADMINS = (
    Column("NAME", flexible=True),
    Column("ROLE"),
    Column("STATE"),
    Column("LAST SIGN-IN", dispensable=1, time=True),
)
MAX_PASSWORD_BYTES = 10_000


@click.group(
    name="admins",
    epilog=examples("switchboard admins create ada", "switchboard admins list"),
)
def command() -> None:
    """Accounts of the console."""


@command.command(
    epilog=examples(
        "switchboard admins create ada",
        "switchboard admins create bob --role operator < password.txt",
    )
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ADMIN_ROLES),
    help="The first account is an owner, others are viewers unless this says otherwise.",
)
def create(name: str, role: str | None) -> None:
    """Makes an account; asks for its password, or reads it from standard input."""
    with opened_services() as services:
        known = check_admin_name(name)
        others = any(not admin.dev_only for admin in services.admins.list())
        chosen = role or ("viewer" if others else "owner")
        password = _new_password(known)
        admin = services.admins.create(known, role=chosen, password=password, by=CLI)
    click.echo(f"{admin.name} may now sign in to the console as {admin.role}.")


@command.command(name="list", epilog=examples("switchboard admins list --json"))
@AS_JSON
def list_(as_json: bool) -> None:
    """Lists the accounts."""
    with opened_services() as services:
        admins = services.admins.list()
    if as_json:
        write_json_list(map(_as_dict, admins))
        return
    rows = (
        (
            admin.name,
            admin.role,
            _state(admin),
            moment(admin.last_sign_in_at) or "never",
        )
        for admin in admins
    )
    if not write_table(ADMINS, rows):
        click.echo(
            "There are no accounts yet; make one with: switchboard admins create NAME.", err=True
        )


@command.command(epilog=examples("switchboard admins disable bob"))
@click.argument("name")
@YES
def disable(name: str, yes: bool) -> None:
    """Ends the account's sessions; it can no longer sign in. Asks on a terminal."""
    with opened_services() as services:
        known = services.admins.get(name)
        confirm_on_terminal(f"Disable {known.name} and end its sessions?", yes)
        admin = services.admins.disable(name, by=CLI)
    click.echo(f"{admin.name} can no longer sign in.")


@command.command(epilog=examples("switchboard admins enable bob"))
@click.argument("name")
def enable(name: str) -> None:
    """Lets a disabled account sign in again."""
    with opened_services() as services:
        admin = services.admins.enable(name, by=CLI)
    click.echo(f"{admin.name} may sign in again.")


@command.command(name="set-role", epilog=examples("switchboard admins set-role bob operator"))
@click.argument("name")
@click.argument("role", type=click.Choice(ADMIN_ROLES))
def set_role(name: str, role: str) -> None:
    """Gives the account another role."""
    with opened_services() as services:
        admin = services.admins.change_role(name, role, by=CLI)
    click.echo(f"{admin.name} is {admin.role} now.")


@command.command(name="set-password", epilog=examples("switchboard admins set-password bob"))
@click.argument("name")
def set_password(name: str) -> None:
    """Sets another password and ends the account's sessions."""
    with opened_services() as services:
        admin = services.admins.get(name)
        services.admins.set_password(admin.name, _new_password(admin.name), by=CLI)
    click.echo(f"The password of {admin.name} is changed, and its sessions have ended.")


def _new_password(name: str) -> str:
    """Asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = _first_line()
    return check_new_password(password, name=name)


def _first_line() -> str:
    """Read byte by byte, so that the next reader gets the lines behind it."""
    source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    line: bytes = source.readline(MAX_PASSWORD_BYTES)
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput("The password on standard input is not UTF-8.") from None


def _state(admin: Admin) -> str:
    if not admin.is_active:
        return "disabled"
    return "dev only" if admin.dev_only else "active"


def _as_dict(admin: Admin) -> dict[str, object]:
    return {
        "name": admin.name,
        "role": admin.role,
        "active": admin.is_active,
        "dev_only": admin.dev_only,
        "created_at": moment(admin.created_at),
        "last_sign_in_at": moment(admin.last_sign_in_at),
    }
