"""`switchboard metrics`: the figures of all tenants together."""

from __future__ import annotations

import click

from webapp.cli.figures import WINDOW, write_figures
from webapp.cli.opened import opened_services
from webapp.cli.output import AS_JSON, examples
from webapp.usage.figures import EVERYONE


@click.command(
    name="metrics",
    epilog=examples("switchboard metrics --window 7d", "switchboard metrics --json"),
)
@WINDOW
@AS_JSON
def command(window: str, as_json: bool) -> None:
    """Shows requests, errors, refusals, tokens and latency of all tenants together."""
    with opened_services() as services:
        write_figures(services, EVERYONE, window, as_json)
