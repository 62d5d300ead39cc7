"""The kinds of arguments and options that several commands take, and who acts in their name."""

from __future__ import annotations

import os
from typing import IO, cast

import click

from webapp.accounts.audit import Actor, AuditEntry
from webapp.errors import InvalidInput
from webapp.ids import check_user_id
from webapp.services import Services
from webapp.settings import parse_duration
from webapp.storage import Connection
from webapp.tenants.notes import Audit, AuditNote

CLI = Actor.command_line()


class PrivateFile(click.ParamType[IO[bytes]]):
    """A file to write into, for its owner alone: it holds what users said. `-` is the terminal.

    One that is there already keeps its rights and loses its content.
    """

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> IO[bytes]:
        if value == "-":
            return cast("IO[bytes]", click.File("wb").convert(value, param, ctx))
        try:
            descriptor = os.open(str(value), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            self.fail(f"{value}: {error.strerror}.", param, ctx)
        file = os.fdopen(descriptor, "wb")
        if ctx is not None:
            ctx.call_on_close(file.close)
        return file


class UserIdParameter(click.ParamType[str]):
    """A user id or a session id, by the rule that holds everywhere."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        try:
            return check_user_id(value, self.name)
        except InvalidInput as error:
            self.fail(f"{error.message}.", param, ctx)


class Duration(click.ParamType[float]):
    """`90s`, `15m`, `24h` or `30d`, as seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


USER_ID = UserIdParameter("user_id")
SESSION_ID = UserIdParameter("session_id")
DURATION = Duration()


def audited(services: Services) -> Audit:
    """The audit function that an act calls in its transaction; the actor is the command line."""

    def write(connection: Connection, note: AuditNote) -> None:
        entry = AuditEntry(CLI, note.action, note.tenant, before=note.before, after=note.after)
        services.audit.record(connection, entry)

    return write
