"""`switchboard sessions`: one tenant's conversations from a terminal: list, show, rename, clear,
forget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from webapp.cli.asking import YES, confirm
from webapp.cli.opened import opened_services
from webapp.cli.output import (
    AS_JSON,
    LIMIT,
    Column,
    examples,
    listed,
    moment,
    write_fields,
    write_json,
    write_json_list,
    write_table,
)
from webapp.cli.output import (
    as_json as as_text,
)
from webapp.cli.parameters import SESSION_ID, USER_ID, audited
from webapp.cli.text import visible
from webapp.errors import Forbidden
from webapp.memory.fields import session_fields
from webapp.memory.sessions.listing.query import DEFAULT_SORT, MAX_LIMIT, SORTS, SessionQuery
from webapp.memory.sessions.store import SessionSummary
from webapp.services import Services
from webapp.session_state.values import read_fields, values_of

SESSIONS = (
    Column("SESSION", flexible=True),
    Column("TITLE", flexible=True, dispensable=2),
    Column("MESSAGES", right=True),
    Column("TURNS", right=True, dispensable=5),
    Column("TOKENS", right=True, dispensable=6),
    Column("STATE", dispensable=3),
    Column("BEGAN", dispensable=4, time=True),
    Column("LAST ACTIVE", dispensable=1, time=True),
)
_USER = click.argument("user_id", type=USER_ID)
_SESSION = click.argument("session_id", type=SESSION_ID)


@click.group(
    name="sessions",
    epilog=examples(
        "switchboard sessions list user-a --search invoice",
        "switchboard sessions rename user-a default 'Invoice of May'",
        "switchboard sessions clear user-a default",
    ),
)
def command() -> None:
    """List, show, rename, clear and forget one tenant's sessions, and show their state."""


@click.command(
    name="list",
    epilog=examples(
        "switchboard sessions list user-a   # as does: switchboard tenants sessions user-a",
        "switchboard sessions list user-a --sort -message_count --limit 0 --json",
    ),
)
@_USER
@click.option("--search", default="", help="A part of the session's id or of its title.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=DEFAULT_SORT,
    show_default=True,
    metavar="NAME",
    help=f"One of {', '.join(SORTS[::2])}; with - in front the largest come first.",
)
@LIMIT
@AS_JSON
def list_(user_id: str, search: str, sort: str, limit: int, as_json: bool) -> None:
    """Lists a tenant's sessions, the last active first."""
    with opened_services() as services:
        require_not_hidden(services)
        services.directory.get(user_id)
        found = listed(_all(services, user_id, SessionQuery(search, sort, MAX_LIMIT)), limit)
        if as_json:
            write_json_list(map(session_fields, found))
            return
        count = write_table(SESSIONS, map(_row, found))
    if not count:
        click.echo(f"{visible(user_id)} has no such sessions.", err=True)


@click.command(epilog=examples("switchboard sessions show user-a default --json"))
@_USER
@_SESSION
@AS_JSON
def show(user_id: str, session_id: str, as_json: bool) -> None:
    """Shows one session; `tenants messages` shows what was said in it."""
    with opened_services() as services:
        require_not_hidden(services)
        fields = session_fields(services.sessions.get(user_id, session_id))
    if as_json:
        write_json(fields)
    else:
        write_fields((name.replace("_", " "), value) for name, value in fields.items())


@click.command(
    epilog=examples(
        "switchboard sessions state user-a default",
        "switchboard sessions state user-a default --json > state.json",
    )
)
@_USER
@_SESSION
@AS_JSON
def state(user_id: str, session_id: str, as_json: bool) -> None:
    """Shows the state of one session, a JSON object, and its version."""
    with opened_services() as services:
        require_not_hidden(services)
        stored = services.states.get(user_id, session_id)
    values = values_of(read_fields(stored.text))
    if as_json:
        write_json(
            {
                "user_id": user_id,
                "session_id": session_id,
                "state": values,
                "version": stored.version,
            }
        )
        return
    click.echo(f"Version {stored.version}.", err=True)
    for line in as_text(values, indent=2).split("\n"):
        click.echo(visible(line))


@click.command(
    epilog=examples(
        "switchboard sessions rename user-a default 'Invoice of May'",
        "switchboard sessions rename user-a default --reset",
    )
)
@_USER
@_SESSION
@click.argument("title", required=False)
@click.option("--reset", is_flag=True, help="Back to the title made from the first question.")
def rename(user_id: str, session_id: str, title: str | None, reset: bool) -> None:
    """Gives a session a title, which stays."""
    if reset == (title is not None):
        raise click.UsageError("Give a TITLE or --reset.")
    with opened_services() as services:
        require_not_hidden(services)
        session = services.sessions.rename(user_id, session_id, title, audit=audited(services))
    said = "has no title yet" if session.title is None else f"is called “{visible(session.title)}”"
    click.echo(f"{visible(session_id)} of {visible(user_id)} {said}.")


@click.command(
    epilog=examples(
        "switchboard sessions clear user-a default",
        "switchboard sessions clear user-a default --yes   # in a script",
    )
)
@_USER
@_SESSION
@YES
def clear(user_id: str, session_id: str, yes: bool) -> None:
    """Removes all messages of one session, which stays."""
    with opened_services() as services:
        session = services.sessions.get(user_id, session_id)
        confirm(f"Clear {session.message_count} messages of {session_id} of {user_id}?", yes)
        cleared = services.sessions.clear(user_id, session_id, audit=audited(services))
    click.echo(f"{cleared} messages cleared.")


@click.command(
    epilog=examples(
        "switchboard sessions forget user-a default",
        "switchboard sessions forget user-a default --yes   # in a script",
    )
)
@_USER
@_SESSION
@YES
def forget(user_id: str, session_id: str, yes: bool) -> None:
    """Deletes one session altogether: messages, state, title."""
    with opened_services() as services:
        session = services.sessions.get(user_id, session_id)
        state = " and its state" if session.has_state else ""
        confirm(
            f"Forget {session_id} of {user_id} with {session.message_count} messages{state}?", yes
        )
        gone = services.sessions.forget(user_id, session_id, audit=audited(services))
    click.echo(f"{visible(session_id)} of {visible(user_id)} is forgotten: {gone} messages.")


def require_not_hidden(services: Services) -> None:
    """Raises `Forbidden` where conversations are hidden."""
    if services.settings.hide_conversations:
        raise Forbidden("Conversations are hidden: SWITCHBOARD_HIDE_CONVERSATIONS is true.")


def _all(services: Services, user_id: str, query: SessionQuery) -> Iterator[SessionSummary]:
    while True:
        page = services.sessions.page(user_id, query)
        yield from page.rows
        if page.following is None:
            return
        query = replace(query, position=page.following)


def _row(session: SessionSummary) -> tuple[object, ...]:
    return (
        session.session_id,
        session.title,
        session.message_count,
        session.turn_count,
        session.total_tokens,
        "kept" if session.has_state else "",
        moment(session.created_at_ms),
        moment(session.last_active_at_ms),
    )


for part in (list_, show, state, rename, clear, forget):
    command.add_command(part)
