"""The command `switchboard`; each group of commands has its module here."""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys

import click

from webapp.errors import SwitchboardError
from webapp.version import __version__

COMMANDS = {
    "dev": "Everything embedded, on this machine alone: the way to begin.",
    "serve": "The production server.",
    "db": "Make or migrate the database, back it up, encrypt user ids.",
    "admins": "Accounts of the console.",
    "keys": "Keys of the REST API.",
    "tenants": "List, show, limit, block, clear, forget, export and import tenants.",
    "sessions": "List, show, rename, clear and forget one tenant's sessions.",
    "metrics": "The figures of all tenants together.",
    "audit": "Who did what to whom.",
    "cleanup": "Forget inactive tenants, old messages, sessions over a limit.",
    "chat": "Talk to the agent in the terminal.",
    "check": "Test the settings and everything they point at.",
}

# What a full disk or a terminal that is gone answers to what a command writes.
OUTPUT_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}

EXAMPLES = """\b
Examples:
  switchboard dev                       try it on this machine
  switchboard tenants list              who talks to the agent
  switchboard tenants list --help       what a command can do
  eval "$(_SWITCHBOARD_COMPLETE=bash_source switchboard)"   complete with Tab
"""


class LazyCommands(click.Group):
    """Imports a command's module when it is called, so that the others cost nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"webapp.cli.{cmd_name}")
        command: click.Command = module.command
        return _told_in_a_sentence(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _told_in_a_sentence(command: click.Command) -> click.Command:
    """A foreseen failure ends the command with its sentence, under `flask` as well."""
    run = command.invoke

    def invoke(ctx: click.Context) -> object:
        take_any_text()
        tell_no_log_lines()
        try:
            return run(ctx)
        except SwitchboardError as error:
            raise click.ClickException(error.message) from error

    command.invoke = invoke  # type: ignore[method-assign]  # whatever class of command it is
    return command


def take_any_text() -> None:
    """Makes a stream write characters that its encoding does not have as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def tell_no_log_lines() -> None:
    """A person at a terminal is told in sentences. Without any handler `logging` would put the
    bare names of events between them; where handlers are set, they get the lines as before."""
    logger = logging.getLogger("switchboard")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@click.command(
    cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES
)
@click.version_option(__version__, prog_name="switchboard")
def switchboard() -> None:
    """One agent that serves many tenants."""


def main() -> None:
    """The console script: a foreseen failure is a sentence on standard error and status 1."""
    stand_in_for_closed_streams()
    try:
        switchboard.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.stderr.write("Aborted.\n")
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nothing more is to be said.
        _write_no_more()
        sys.exit(1)
    except OSError as error:
        if error.errno not in OUTPUT_FAULTS:
            raise
        _write_no_more()
        sys.stderr.write(f"Error: The output could not be written ({error.strerror}).\n")
        sys.exit(1)


def stand_in_for_closed_streams() -> None:
    """Opens what the caller has closed (`<&-`) as the null device: the next file to be opened, such
    as a database, would take its number otherwise, and be written into by a message."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def _write_no_more() -> None:
    """Python's own last flush must neither fail nor complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
