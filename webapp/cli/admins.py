"""`switchboard admins`: the console's accounts. A password never is an argument."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import click

from webapp.accounts.admins import Admin, check_admin_name
from webapp.accounts.audit import Actor
from webapp.accounts.passwords import check_new_password
from webapp.accounts.roles import ADMIN_ROLES
from webapp.cli.opened import opened_services

CLI = Actor.command_line()


@click.group(name="admins")
def command() -> None:
    """Accounts of the console."""


@command.command()
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
        chosen = role or ("viewer" if services.admins.list() else "owner")
        password = _new_password(known)
        admin = services.admins.create(known, role=chosen, password=password, by=CLI)
    click.echo(f"{admin.name} may now sign in to the console as {admin.role}.")


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """Lists the accounts."""
    with opened_services() as services:
        admins = services.admins.list()
    if as_json:
        click.echo(json.dumps([_as_dict(admin) for admin in admins], indent=2))
        return
    if not admins:
        click.echo("There are no accounts yet; make one with: switchboard admins create NAME.")
        return
    width = max(len(admin.name) for admin in admins)
    for admin in admins:
        state = "active" if admin.is_active else "disabled"
        last = moment(admin.last_sign_in_at) or "never signed in"
        click.echo(f"{admin.name:<{width}}  {admin.role:<8}  {state:<8}  {last}")


@command.command()
@click.argument("name")
def disable(name: str) -> None:
    """Ends the account's sessions; it can no longer sign in."""
    with opened_services() as services:
        admin = services.admins.disable(name, by=CLI)
    click.echo(f"{admin.name} can no longer sign in.")


@command.command()
@click.argument("name")
def enable(name: str) -> None:
    """Lets a disabled account sign in again."""
    with opened_services() as services:
        admin = services.admins.enable(name, by=CLI)
    click.echo(f"{admin.name} may sign in again.")


@command.command(name="set-role")
@click.argument("name")
@click.argument("role", type=click.Choice(ADMIN_ROLES))
def set_role(name: str, role: str) -> None:
    """Gives the account another role."""
    with opened_services() as services:
        admin = services.admins.change_role(name, role, by=CLI)
    click.echo(f"{admin.name} is {admin.role} now.")


@command.command(name="set-password")
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
        password = sys.stdin.readline().rstrip("\r\n")
    return check_new_password(password, name=name)


def _as_dict(admin: Admin) -> dict[str, object]:
    return {
        "name": admin.name,
        "role": admin.role,
        "active": admin.is_active,
        "created_at": moment(admin.created_at),
        "last_sign_in_at": moment(admin.last_sign_in_at),
    }


def moment(milliseconds: int | None) -> str | None:
    """A time as people and programs read it, in UTC."""
    if milliseconds is None:
        return None
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
