"""`switchboard tenants`: the console's work on tenants from a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import IO

import click

from webapp.accounts.audit import Actor, AuditEntry, record
from webapp.cli.opened import opened_services
from webapp.ids import check_user_id
from webapp.services import Services
from webapp.storage import Connection
from webapp.tenants.directory import TenantChange
from webapp.tenants.export import tenant_fields
from webapp.tenants.notes import AuditNote
from webapp.tenants.query import DEFAULT_SORT, MAX_LIMIT, SORTS, TenantFilter, TenantQuery
from webapp.tenants.rows import TenantRow
from webapp.usage.periods import iso_utc

WORDS = "clear all tenants"


class UserIdParameter(click.ParamType[str]):
    """A user id, by the rule that holds everywhere."""

    name = "user_id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        return check_user_id(value)


USER_ID = UserIdParameter()
YES = click.option("--yes", is_flag=True, help="Do not ask.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group(name="tenants")
def command() -> None:
    """List, show, clear, forget, export, import, block tenants."""


@command.command(name="list")
@click.option("--search", default="", help="A part of the user id.")
@click.option("--sort", type=click.Choice(SORTS), default=DEFAULT_SORT, show_default=True)
@click.option("--limit", type=click.IntRange(min=0), default=50, help="How many; 0 lists all.")
@click.option("--blocked", is_flag=True, help="Only those that are blocked.")
@AS_JSON
def list_(search: str, sort: str, limit: int, blocked: bool, as_json: bool) -> None:
    """Lists the tenants, the last active first."""
    query = TenantQuery(
        TenantFilter(search=search, blocked=True if blocked else None), sort, MAX_LIMIT
    )
    with opened_services() as services:
        count = 0
        for count, tenant in enumerate(islice(_all(services, query), limit or None), start=1):
            if as_json:
                # Written as it is read: a million tenants need not fit into memory.
                click.echo("[" if count == 1 else ",")
                click.echo(json.dumps(tenant_fields(tenant), ensure_ascii=False), nl=False)
            else:
                click.echo(_line(tenant))
    if as_json:
        click.echo("\n]" if count else "[]")
    elif not count:
        click.echo("There are no such tenants.", err=True)


@command.command()
@click.argument("user_id", type=USER_ID)
@AS_JSON
def show(user_id: str, as_json: bool) -> None:
    """Shows one tenant."""
    with opened_services() as services:
        fields = tenant_fields(services.directory.get(user_id))
    if as_json:
        click.echo(json.dumps(fields, indent=2, ensure_ascii=False))
        return
    for name, value in fields.items():
        click.echo(f"{name.replace('_', ' '):<20} {'–' if value is None else value}")


@command.command()
@click.argument("user_id", type=USER_ID)
@YES
def clear(user_id: str, yes: bool) -> None:
    """Removes all messages of one tenant."""
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        _ask(f"Clear {tenant.message_count} messages of {user_id}?", yes)
        cleared = services.directory.clear(user_id, audit=audit)
    click.echo(f"{cleared} messages cleared.")


@command.command(name="clear-all")
@YES
def clear_all(yes: bool) -> None:
    """Removes all messages of every tenant."""
    with opened_services() as services:
        if not yes:
            tenants = services.directory.census(0).tenants
            click.echo(f"This clears the conversations of all {tenants} tenants.", err=True)
            if click.prompt(f"Type '{WORDS}' to go on", err=True) != WORDS:
                raise click.Abort
        cleared, of = services.directory.clear_all(audit=audit)
    click.echo(f"{cleared} messages of {of} tenants cleared.")


@command.command()
@click.argument("user_id", type=USER_ID)
@YES
def forget(user_id: str, yes: bool) -> None:
    """Deletes one tenant altogether: messages, sessions, metrics."""
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        question = (
            f"Forget {user_id} with {tenant.message_count} messages"
            f" and {tenant.request_count} requests?"
        )
        _ask(question, yes)
        gone = services.directory.forget(user_id, audit=audit)
    click.echo(f"{user_id} is forgotten: {gone.messages} messages, {gone.requests} requests.")


@command.command()
@click.argument("user_id", type=USER_ID)
@click.option("--output", type=click.File("wb"), default="-", help="A file; else the terminal.")
def export(user_id: str, output: IO[bytes]) -> None:
    """Writes everything about one tenant as JSON Lines."""
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        services.database.write(
            lambda connection: audit(
                connection,
                AuditNote("export_tenant", tenant.number, {"messages": tenant.message_count}),
            )
        )
        lines = services.directory.export(user_id)
        length = tenant.message_count + tenant.request_count
        with click.progressbar(lines, length=length, label="Exporting", file=sys.stderr) as bar:
            for line in bar:
                output.write(line)


@command.command(name="import")
@click.argument("user_id", type=USER_ID)
@click.argument("file", type=click.File("rb"))
def import_(user_id: str, file: IO[bytes]) -> None:
    """Reads an export from FILE ('-': standard input) into a tenant; all of it or nothing."""
    with opened_services() as services:
        imported = services.directory.import_(user_id, file, audit=audit)
    click.echo(
        f"{imported.messages} messages in {imported.sessions} sessions and"
        f" {imported.requests} requests imported."
    )
    if imported.note:
        click.echo(imported.note)


@command.command()
@click.argument("user_id", type=USER_ID)
def block(user_id: str) -> None:
    """Refuses the tenant's turns from the next one on."""
    with opened_services() as services:
        services.directory.update(user_id, TenantChange(blocked=True), audit=audit)
    click.echo(f"{user_id} is blocked.")


@command.command()
@click.argument("user_id", type=USER_ID)
def unblock(user_id: str) -> None:
    """Lets the tenant in again."""
    with opened_services() as services:
        services.directory.update(user_id, TenantChange(blocked=False), audit=audit)
    click.echo(f"{user_id} is not blocked.")


def audit(connection: Connection, note: AuditNote) -> None:
    """Writes an act down as the command line's, in the transaction of the act."""
    actor = Actor.command_line()
    entry = AuditEntry(actor, note.action, note.tenant, before=note.before, after=note.after)
    record(connection, entry)


def _all(services: Services, query: TenantQuery) -> Iterator[TenantRow]:
    while True:
        page = services.directory.page(query)
        yield from page.rows
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _ask(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _line(tenant: TenantRow) -> str:
    mark = "  blocked" if tenant.blocked else ""
    return (
        f"{iso_utc(tenant.last_active_at)[:19]}Z  {tenant.message_count:>8} messages"
        f"  {tenant.request_count:>8} requests  {tenant.error_count:>6} errors"
        f"  {tenant.user_id}{mark}"
    )
