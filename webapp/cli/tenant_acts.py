"""`switchboard tenants`: the commands that change tenants: limit, block, clear, forget."""

from __future__ import annotations

import click

from webapp.cli.asking import YES, confirm, confirm_words
from webapp.cli.opened import opened_services
from webapp.cli.output import examples
from webapp.cli.parameters import USER_ID, audited
from webapp.cli.text import visible
from webapp.tenant_data import figures
from webapp.tenants.restrictions.change import TenantChange

WORDS = "clear all tenants"
DEFAULT = "default"


@click.command(
    epilog=examples(
        "switchboard tenants limit user-a '10/minute;200/day'",
        "switchboard tenants limit user-a default",
    )
)
@click.argument("user_id", type=USER_ID)
@click.argument("limit", metavar="LIMIT")
def limit(user_id: str, limit: str) -> None:
    """Gives the tenant a rate limit of its own, or 'default' for that of all."""
    own = None if limit == DEFAULT else limit
    _change(user_id, TenantChange(rate_limit=own), f"has {own or 'the default'} as its rate limit")


@click.command(
    epilog=examples(
        "switchboard tenants budget user-a '100000/day;2000000/month'",
        "switchboard tenants budget user-a default",
    )
)
@click.argument("user_id", type=USER_ID)
@click.argument("budget", metavar="BUDGET")
def budget(user_id: str, budget: str) -> None:
    """Gives the tenant a token budget of its own, or 'default' for that of all."""
    own = None if budget == DEFAULT else budget
    _change(
        user_id, TenantChange(token_budget=own), f"has {own or 'the default'} as its token budget"
    )


@click.command(epilog=examples("switchboard tenants block user-a"))
@click.argument("user_id", type=USER_ID)
def block(user_id: str) -> None:
    """Refuses the tenant's turns from the next one on."""
    _change(user_id, TenantChange(blocked=True), "is blocked")


@click.command(epilog=examples("switchboard tenants unblock user-a"))
@click.argument("user_id", type=USER_ID)
def unblock(user_id: str) -> None:
    """Lets the tenant in again."""
    _change(user_id, TenantChange(blocked=False), "is not blocked")


@click.command(
    epilog=examples(
        "switchboard tenants clear user-a", "switchboard tenants clear user-a --yes   # in a script"
    )
)
@click.argument("user_id", type=USER_ID)
@YES
def clear(user_id: str, yes: bool) -> None:
    """Removes all messages of one tenant."""
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        confirm(f"Clear {tenant.message_count} messages of {user_id}?", yes)
        cleared = services.acts.clear(user_id, audit=audited(services))
    click.echo(f"{cleared} messages cleared.")


@click.command(
    name="clear-all",
    epilog=examples(
        "switchboard tenants clear-all", "switchboard tenants clear-all --yes   # in a script"
    ),
)
@YES
def clear_all(yes: bool) -> None:
    """Removes all messages of every tenant."""
    with opened_services() as services:
        if not yes:
            found = services.database.read_long(figures.of_all)
            confirm_words(
                f"This clears {found.messages} messages of {found.tenants} tenants.", WORDS, yes
            )
        cleared, of = services.acts.clear_all(audit=audited(services))
    click.echo(f"{cleared} messages of {of} tenants cleared.")


@click.command(
    epilog=examples(
        "switchboard tenants forget user-a",
        "switchboard tenants forget user-a --yes   # in a script",
    )
)
@click.argument("user_id", type=USER_ID)
@YES
def forget(user_id: str, yes: bool) -> None:
    """Deletes one tenant altogether: messages, sessions, metrics."""
    with opened_services() as services:
        tenant = services.directory.get(user_id)
        confirm(
            f"Forget {user_id} with {tenant.message_count} messages"
            f" and {tenant.request_count} requests?",
            yes,
        )
        gone = services.acts.forget(user_id, audit=audited(services))
    click.echo(
        f"{visible(user_id)} is forgotten: {gone.messages} messages, {gone.requests} requests."
    )


def _change(user_id: str, change: TenantChange, said: str) -> None:
    with opened_services() as services:
        services.directory.update(user_id, change, audit=audited(services))
    click.echo(f"{visible(user_id)} {said}.")
