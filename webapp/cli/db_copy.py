"""`switchboard db copy`: moves an installation from one database into another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from webapp.cli.output import examples
from webapp.redaction import redacted_url
from webapp.setting_kinds import database_url
from webapp.storage import open_database
from webapp.storage.copying import CopyReport, Progress, copy


def _url(_ctx: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        return database_url(text)
    except ValueError as error:
        raise click.BadParameter(f"it {error}.") from error


@click.command(
    name="copy",
    epilog=examples(
        "switchboard db copy --from sqlite:///instance/switchboard.db --to postgresql://host/name",
    ),
)
@click.option("--from", "source_url", required=True, callback=_url, help="What is copied.")
@click.option("--to", "target_url", required=True, callback=_url, help="An empty database.")
def command(source_url: str, target_url: str) -> None:
    """Copies everything from one database into another, and verifies it.

    Numbers, ids, accounts, keys, sessions, the audit log: every row is the same afterwards. Stop
    every server of the source first. It may be interrupted and run again: what is there already is
    compared, and only what differs is written. The source is only read.
    """
    with closing(open_database(source_url)) as source, closing(open_database(target_url)) as target:
        with _bars() as progress:
            report = copy(source, target, progress)
        _tell(report, redacted_url(source.url), redacted_url(target.url))


def _tell(report: CopyReport, source: str, target: str) -> None:
    if report.made_schema:
        click.echo("The target was empty and has been given its schema.")
    if report.resumed:
        click.echo(
            "A copy that had been interrupted was finished;"
            f" {report.found:,} rows were there already."
        )
    longest = max(len(table.name) for table in report.tables)
    for table in report.tables:
        click.echo(f"{table.name:<{longest}}  {table.rows:>12,}  {table.checksum}")
    rows = sum(table.rows for table in report.tables)
    click.echo(
        f"{target} holds all {rows:,} rows of {source}: counts and checksums (SHA-256) of"
        f" {len(report.tables)} tables agree."
    )
    click.echo("Serve it with the same SECRET_KEY and USER_ID_KEY, and the source no more.")


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar for each thing that is done, on standard error."""
    name = ""
    bar: click._termui_impl.ProgressBar[int] | None = None

    def end() -> None:
        if bar is not None:
            bar.render_finish()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal bar, name
        if bar is None or what != name or done < bar.pos:
            end()
            name = what
            bar = click.progressbar(length=max(total, 1), label=what, file=sys.stderr)
            bar.render_progress()
        bar.update(done - bar.pos)

    try:
        yield progress
    finally:
        end()
