"""`switchboard tenants`: the commands that show tenants."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import click

from webapp.cli.figures import WINDOW, write_figures
from webapp.cli.opened import opened_services
from webapp.cli.output import (
    AS_JSON,
    LIMIT,
    Column,
    examples,
    listed,
    moment,
    width,
    write_fields,
    write_json,
    write_json_list,
    write_table,
)
from webapp.cli.parameters import SESSION_ID, USER_ID
from webapp.cli.sessions import require_not_hidden
from webapp.cli.text import readable, visible, wrapped
from webapp.memory.fields import message_fields
from webapp.memory.paging.conversation import MAX_LIMIT as MESSAGES_AT_ONCE
from webapp.memory.paging.conversation import Place, conversation
from webapp.memory.paging.store import StoredMessage
from webapp.services import Services
from webapp.tenants.fields import tenant_fields
from webapp.tenants.listing.query import DEFAULT_SORT, MAX_LIMIT, SORTS, TenantFilter, TenantQuery
from webapp.tenants.rows import TenantRow

TENANTS = (
    Column("USER ID", flexible=True),
    Column("MESSAGES", right=True),
    Column("REQUESTS", right=True, dispensable=4),
    Column("ERRORS", right=True, dispensable=5),
    Column("LIMITED", right=True, dispensable=6),
    Column("TOKENS", right=True, dispensable=7),
    Column("P95 MS", right=True, dispensable=8),
    Column("LAST ACTIVE", dispensable=3, time=True),
    Column("STATE", dispensable=1),
)


@click.command(
    name="list",
    epilog=examples(
        "switchboard tenants list --sort -error_count --limit 10",
        "switchboard tenants list --search org-acme --json",
    ),
)
@click.option("--search", default="", help="A part of the user id.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=DEFAULT_SORT,
    show_default=True,
    metavar="NAME",
    help=f"One of {', '.join(SORTS[::2])}; with - in front the largest come first.",
)
@LIMIT
@click.option("--blocked", is_flag=True, help="Only those that are blocked.")
@AS_JSON
def list_(search: str, sort: str, limit: int, blocked: bool, as_json: bool) -> None:
    """Lists the tenants, the last active first."""
    chosen = TenantFilter(search=search, blocked=True if blocked else None)
    with opened_services() as services:
        tenants = listed(_all(services, TenantQuery(chosen, sort, MAX_LIMIT)), limit)
        if as_json:
            write_json_list(map(tenant_fields, tenants))
        elif not write_table(TENANTS, map(_row, tenants)):
            click.echo("There are no such tenants.", err=True)


@click.command(epilog=examples("switchboard tenants show user-a"))
@click.argument("user_id", type=USER_ID)
@AS_JSON
def show(user_id: str, as_json: bool) -> None:
    """Shows one tenant."""
    with opened_services() as services:
        fields = tenant_fields(services.directory.get(user_id))
    if as_json:
        write_json(fields)
    else:
        write_fields((name.replace("_", " "), value) for name, value in fields.items())


@click.command(
    epilog=examples(
        "switchboard tenants messages user-a",
        "switchboard tenants messages user-a --session default --limit 0 --json",
    )
)
@click.argument("user_id", type=USER_ID)
@click.option("--session", "session_id", type=SESSION_ID, help="Of this session only.")
@LIMIT
@AS_JSON
def messages(user_id: str, session_id: str | None, limit: int, as_json: bool) -> None:
    """Shows what is stored of a tenant's conversations, oldest first."""
    with opened_services() as services:
        require_not_hidden(services)
        tenant = services.directory.get(user_id)
        found = listed(_messages(services, tenant.number, session_id), limit)
        if as_json:
            write_json_list(map(message_fields, found))
            return
        count = sum(map(_write_message, found))
    if not count:
        click.echo("There are no messages.", err=True)


@click.command(epilog=examples("switchboard tenants metrics user-a --window 7d"))
@click.argument("user_id", type=USER_ID)
@WINDOW
@AS_JSON
def metrics(user_id: str, window: str, as_json: bool) -> None:
    """Shows one tenant's requests, errors, refusals, tokens and latency in a window of time."""
    with opened_services() as services:
        write_figures(services, services.directory.get(user_id).number, window, as_json)


def _all(services: Services, query: TenantQuery) -> Iterator[TenantRow]:
    while True:
        page = services.directory.page(query)
        yield from page.rows
        if page.following is None:
            return
        query = replace(query, position=page.following)


def _row(tenant: TenantRow) -> tuple[object, ...]:
    return (
        tenant.user_id,
        tenant.message_count,
        tenant.request_count,
        tenant.error_count,
        tenant.rate_limited_count,
        tenant.total_tokens,
        tenant.p95_ms or "",
        moment(tenant.last_active_at),
        "blocked" if tenant.blocked else "",
    )


def _messages(services: Services, number: int, session_id: str | None) -> Iterator[StoredMessage]:
    place: Place | None = None
    while True:
        with services.database.read() as connection:
            page = conversation(connection, number, session_id, limit=MESSAGES_AT_ONCE, place=place)
        yield from page.messages
        place = page.later
        if place is None:
            return


def _line_width() -> int:
    """The width of a line of text; 0 when the output is no terminal."""
    return max(20, width() - 2) if sys.stdout.isatty() and width() else 0


def _write_message(stored: StoredMessage) -> int:
    """Gives 1, to be counted."""
    message = stored.message
    head = f"{moment(message.created_at_ms)}  {visible(stored.session_id)}  {message.role}"
    click.echo(head)
    for call in message.tool_calls:
        click.echo(f"  calls {visible(call.name)} {visible(call.arguments)}")
    for line in wrapped(readable(message.content), _line_width()).splitlines():
        click.echo(f"  {line}")
    return 1
