"""The kinds of arguments and options that several commands take, and who acts in their name."""

from __future__ import annotations

import click

from webapp.accounts.audit import Actor, AuditEntry
from webapp.errors import InvalidInput
from webapp.ids import check_user_id
from webapp.services import Services
from webapp.settings import parse_duration
from webapp.storage import Connection
from webapp.tenants.notes import Audit, AuditNote

CLI = Actor.command_line()


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
    """What an act calls in its own transaction: it is written down as the command line's."""

    def write(connection: Connection, note: AuditNote) -> None:
        entry = AuditEntry(CLI, note.action, note.tenant, before=note.before, after=note.after)
        services.audit.record(connection, entry)

    return write
