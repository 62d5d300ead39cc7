"""`switchboard tenants`: the console's work on tenants from a terminal; each act is elsewhere."""

from __future__ import annotations

import click

from webapp.cli import sessions, tenant_acts, tenant_files, tenant_looks
from webapp.cli.output import examples


@click.group(
    name="tenants",
    epilog=examples(
        "switchboard tenants list --sort -error_count",
        "switchboard tenants messages user-a",
        "switchboard tenants block user-a",
    ),
)
def command() -> None:
    """List, show, limit, block, clear, forget, export and import tenants."""


for part in (
    *(tenant_looks.list_, tenant_looks.show, tenant_looks.messages),
    *(tenant_looks.metrics, tenant_acts.limit, tenant_acts.budget),
    *(tenant_acts.block, tenant_acts.unblock),
    *(tenant_acts.clear, tenant_acts.clear_all, tenant_acts.forget),
    *(tenant_files.export, tenant_files.import_),
):
    command.add_command(part)
command.add_command(sessions.list_, "sessions")
