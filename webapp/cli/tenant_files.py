"""`switchboard tenants`: export and import, of one tenant or of all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

import click

from webapp.cli.opened import opened_services
from webapp.cli.output import examples
from webapp.cli.parameters import USER_ID, PrivateFile, audited
from webapp.services import Services
from webapp.tenant_data.transfers import Format, Lines

FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["switchboard", "openai"]),
    default="switchboard",
    show_default=True,
    help="Everything, or conversations alone as OpenAI's chat messages.",
)
_BLOCK = 1024 * 1024


@click.command(
    epilog=examples(
        "switchboard tenants export user-a --output user-a.jsonl",
        "switchboard tenants export user-a | gzip > user-a.jsonl.gz",
        "switchboard tenants export --all all.jsonl",
        "switchboard tenants export --all --format openai conversations.jsonl",
    )
)
@click.argument("who", metavar="USER_ID | --all [FILE]", required=False)
@click.option("--all", "of_all", is_flag=True, help="All tenants, into FILE or the terminal.")
@click.option("--output", type=PrivateFile(), help="A file; else the terminal.")
@FORMAT
@click.option(
    "--include-hidden",
    is_flag=True,
    help="Conversations too where HIDE_CONVERSATIONS keeps them from admins; it is written down.",
)
def export(
    who: str | None, of_all: bool, output: IO[bytes] | None, form: Format, include_hidden: bool
) -> None:
    """Writes everything about one tenant, or about all, as JSON Lines.

    Where SWITCHBOARD_HIDE_CONVERSATIONS is true, without what the users said.
    """
    if of_all and who is not None:
        if output is not None:
            raise click.UsageError("The file is given twice, as FILE and as --output.")
        output = PrivateFile().convert(who, None, click.get_current_context())
    elif not of_all and who is None:
        raise click.UsageError("Name a user id, or --all.")
    target = output or PrivateFile().convert("-", None, click.get_current_context())
    with opened_services() as services:
        conversations = include_hidden or not services.settings.hide_conversations
        if form == "openai" and not conversations:
            raise click.ClickException(
                "Conversations are hidden on this server, and this format holds nothing else;"
                " --include-hidden writes them, and an entry into the audit log."
            )
        if of_all:
            _export_all(services, target, form, conversations)
        else:
            _export_one(services, str(who), target, form, conversations)


def _export_one(
    services: Services, who: str, output: IO[bytes], form: Format, conversations: bool
) -> None:
    user_id = USER_ID.convert(who, None, None)
    tenant = services.directory.get(user_id)
    pieces = services.acts.transfers.export(
        user_id, conversations=conversations, form=form, audit=audited(services)
    )
    length = tenant.message_count + tenant.request_count
    with click.progressbar(
        pieces, length=length, label="Exporting", file=sys.stderr, hidden=_is_terminal(output)
    ) as bar:
        for piece in bar:
            output.write(piece)


def _export_all(services: Services, output: IO[bytes], form: Format, conversations: bool) -> None:
    with click.progressbar(
        length=1, label="Exporting tenants", file=sys.stderr, hidden=_is_terminal(output)
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        tenants = services.acts.transfers.export_all(
            output.write,
            conversations=conversations,
            form=form,
            audit=audited(services),
            progress=progress,
        )
    click.echo(f"{tenants} tenants exported.", err=True)


@click.command(
    name="import",
    epilog=examples(
        "switchboard tenants import user-a user-a.jsonl",
        "gunzip -c user-a.jsonl.gz | switchboard tenants import user-a -",
        "switchboard tenants import --all all.jsonl",
        "switchboard tenants import user-a chats.jsonl --format openai",
    ),
)
@click.argument("names", metavar="USER_ID FILE | --all FILE", nargs=-1, required=True)
@click.option("--all", "of_all", is_flag=True, help="Each tenant of the file under its own id.")
@FORMAT
def import_(names: tuple[str, ...], of_all: bool, form: Format) -> None:
    """Reads an export from FILE ('-': standard input) into a tenant, or all of its tenants; all of
    it or nothing.

    Each line is checked before anything is stored.
    """
    if len(names) != (1 if of_all else 2):
        raise click.UsageError("Name a user id and a file, or --all and a file.")
    file = click.File("rb").convert(names[-1], None, click.get_current_context())
    with opened_services() as services, _twice(cast("IO[bytes]", file)) as lines:
        transfers, audit = services.acts.transfers, audited(services)
        if of_all:
            came = transfers.import_all(lines, form=form, audit=audit)
            click.echo(
                f"{came.messages} messages in {came.sessions} sessions and {came.requests}"
                f" requests of {came.tenants} tenants imported."
            )
            if came.known:
                click.echo(
                    f"{came.known} tenants were known already: what is theirs beside the"
                    " conversations stays as it was."
                )
            if came.messages_left_out:
                click.echo(f"{came.messages_left_out} messages were left out by the cap.")
            return
        imported = transfers.import_file(
            USER_ID.convert(names[0], None, None), lines, form=form, audit=audit
        )
    click.echo(
        f"{imported.messages} messages in {imported.sessions} sessions and"
        f" {imported.requests} requests imported."
    )
    if imported.note:
        click.echo(imported.note)


@contextmanager
def _twice(file: IO[bytes]) -> Iterator[Lines]:
    """The file's lines from its begin each time, with a bar for each: to check, and to store.

    What comes through a pipe is kept in a file without a name meanwhile.
    """
    with tempfile.TemporaryFile() as kept:
        source = file
        if not file.seekable():
            while block := file.read(_BLOCK):
                kept.write(block)
            source = kept
        size = source.seek(0, os.SEEK_END)
        labels = iter(("Checking", "Importing"))
        yield lambda: _shown(source, size, next(labels, "Importing again"))


def _shown(file: IO[bytes], size: int, label: str) -> Iterator[bytes]:
    file.seek(0)
    with click.progressbar(length=max(size, 1), label=label, file=sys.stderr) as bar:
        step = _steps(bar.update)
        for line in file:
            yield line
            step(len(line))
        bar.update(max(size, 1) - bar.pos)


def _steps(update: Callable[[int], None]) -> Callable[[int], None]:
    """Tells the bar of every hundred kilobytes: of each line would be dearer than to read it."""
    waiting = 0

    def step(more: int) -> None:
        nonlocal waiting
        waiting += more
        if waiting >= 100_000:
            update(waiting)
            waiting = 0

    return step


def _is_terminal(output: IO[bytes]) -> bool:
    return getattr(output, "name", "") == "<stdout>" and sys.stdout.isatty()
