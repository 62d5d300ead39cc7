"""`switchboard audit`: who did what to whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from webapp.accounts import audit as log
from webapp.accounts.audit import AuditFilter, AuditRecord, BrokenAt, NotSealed, VerifiedChain
from webapp.cli.asking import YES, confirm
from webapp.cli.opened import opened_services
from webapp.cli.output import (
    AS_JSON,
    Column,
    examples,
    listed,
    moment,
    write_json_list,
    write_table,
)
from webapp.cli.parameters import CLI, USER_ID
from webapp.periods import DAY_MS, iso_utc
from webapp.services import Services

ENTRIES = (
    Column("ID", right=True, dispensable=5),
    Column("AT", time=True),
    Column("ACTOR", flexible=True),
    Column("ACTION", flexible=True),
    Column("ON", flexible=True, dispensable=1),
    Column("BEFORE", flexible=True, dispensable=4),
    Column("AFTER", flexible=True, dispensable=3),
    Column("ADDRESS", dispensable=6),
)
NOBODY = -1
DAY = click.DateTime(["%Y-%m-%d"])


@click.group(name="audit", epilog=examples("switchboard audit list --limit 20"))
def command() -> None:
    """The audit log: who did what to whom."""


@command.command(
    name="list",
    epilog=examples(
        "switchboard audit list --tenant user-a",
        "switchboard audit list --actor admin:ada --since 2026-11-01 --json",
    ),
)
@click.option("--tenant", type=USER_ID, help="Acts on this tenant.")
@click.option("--actor", help="Who acted: admin:NAME, key:ID or cli.")
@click.option("--action", help="What was done, such as clear_tenant.")
@click.option("--since", type=DAY, help="From this day on, in UTC.")
@click.option("--until", type=DAY, help="Up to the end of this day, in UTC.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="0 lists all."
)
@AS_JSON
def list_(
    tenant: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Lists the entries, newest first."""
    with opened_services() as services:
        number = None if tenant is None else services.directory.number(tenant)
        chosen = AuditFilter(
            actor=actor,
            action=action,
            tenant_id=NOBODY if tenant is not None and number is None else number,
            since=None if since is None else _begin(since),
            until=None if until is None else _begin(until) + DAY_MS,
        )
        entries = listed(log.export(services.database, chosen), limit)
        fields = (_fields(services, entry) for entry in entries)
        if as_json:
            write_json_list(fields)
        elif not write_table(ENTRIES, map(_row, fields)):
            click.echo("There are no such entries.", err=True)


@command.command(epilog=examples("switchboard audit seal"))
@YES
def seal(yes: bool) -> None:
    """Vouches for the whole log under this SWITCHBOARD_SECRET_KEY, after it was changed.

    Before the key is changed, `switchboard check` proves the log under the old one and prints its
    head. Under the new one, compare the head that this command shows with that, and go on.
    """
    with opened_services() as services:
        state = services.database.read_long(services.audit.verify)
        if isinstance(state, VerifiedChain):
            click.echo(f"The log's {state.count} entries are sealed already; nothing was done.")
            return
        told = state.sentence if isinstance(state, NotSealed) else _broken(state)
        click.echo(told, err=True)
        confirm("Vouch for the log as it is?", yes)
        before = services.database.write_long(
            lambda connection: services.audit.seal_anew(connection, CLI)
        )
    click.echo(f"{before.count} entries are sealed, head {before.head[:16]}.")


def _broken(state: BrokenAt) -> str:
    return f"The audit log is broken at entry {state.id}: {state.reason}."


def _fields(services: Services, entry: AuditRecord) -> dict[str, Any]:
    """The entry under the names of the console's download."""
    return {
        "id": entry.id,
        "at": iso_utc(entry.at),
        "actor": entry.actor,
        "role": entry.role,
        "address": entry.address,
        "action": entry.action,
        "tenant": None if entry.tenant_id is None else services.directory.named(entry.tenant_id),
        "tenant_id": entry.tenant_id,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "request_id": entry.request_id,
        "hash": entry.hash,
    }


def _row(fields: Mapping[str, Any]) -> tuple[object, ...]:
    forgotten = "" if fields["tenant_id"] is None else f"tenant {fields['tenant_id']}"
    return (
        fields["id"],
        f"{fields['at'][:19]}Z",
        fields["actor"],
        fields["action"],
        fields["tenant"] or fields["target"] or forgotten,
        _figures(fields["before"]),
        _figures(fields["after"]),
        fields["address"],
    )


def _figures(noted: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}: {moment(value) if name.endswith('_at') and isinstance(value, int) else value}"
        for name, value in noted.items()
        if value is not None
    )


def _begin(day: datetime) -> int:
    return round(day.replace(tzinfo=UTC).timestamp() * 1000)
