"""Questions before what cannot be undone; an answer is never read from a pipe."""

from __future__ import annotations

import sys

import click

from webapp.cli.text import visible

YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirm(question: str, yes: bool) -> None:
    """Goes on when it was answered with yes; `Abort` when not.

    Without a terminal nobody can answer, and what stands in a pipe is no answer: `--yes` is.
    """
    if yes:
        return
    _require_terminal(question)
    click.confirm(visible(question), abort=True, err=True)


def confirm_words(question: str, words: str, yes: bool) -> None:
    """Goes on when these very words were typed."""
    if yes:
        return
    _require_terminal(question)
    click.echo(question, err=True)
    if click.prompt(f"Type '{words}' to go on", err=True) != words:
        raise click.Abort


def confirm_on_terminal(question: str, yes: bool) -> None:
    """Asks a person and lets a script go on: for what only takes rights away, and loses no data."""
    if not yes and on_terminal():
        click.confirm(visible(question), abort=True, err=True)


def on_terminal() -> bool:
    """Whether somebody sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _require_terminal(question: str) -> None:
    if not on_terminal():
        raise click.UsageError(
            f"{visible(question)} Nobody can be asked without a terminal, and nothing was done;"
            " give --yes to go on."
        )
