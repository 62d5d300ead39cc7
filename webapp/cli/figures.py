"""Writes the figures of a window of time, of one tenant or of all together."""

from __future__ import annotations

import click

from webapp.cli.output import Column, write_fields, write_json, write_table
from webapp.services import Services
from webapp.usage.metrics import metrics_fields
from webapp.usage.summary import summary
from webapp.usage.windows import WINDOWS, window_named

WINDOW = click.option(
    "--window", type=click.Choice(list(WINDOWS)), default="24h", show_default=True
)
SERIES = (
    Column("FROM", time=True),
    Column("REQUESTS", right=True),
    Column("ERRORS", right=True, dispensable=1),
    Column("TOKENS", right=True, dispensable=2),
)


def write_figures(services: Services, tenant: int, window: str, as_json: bool) -> None:
    """The same figures, under the same names, as REST gives; steps without a request left out."""
    with services.database.read() as connection:
        figures = summary(connection, tenant, window_named(window), services.clock.now_ms())
    fields = metrics_fields(figures)
    if as_json:
        write_json(fields)
        return
    latency, series = fields.pop("latency_ms"), fields.pop("series")
    fields |= {f"latency {name} ms": value for name, value in latency.items()}
    write_fields((name.replace("_", " "), value) for name, value in fields.items())
    rows = [
        (step["at"][:16] + "Z", step["requests"], step["errors"], step["tokens"])
        for step in series
        if step["requests"]
    ]
    if rows:
        click.echo()
        write_table(SERIES, rows)
