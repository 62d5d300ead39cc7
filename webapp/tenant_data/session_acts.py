"""What people do with one session of a tenant: look at it, rename, clear and forget it.

As in acts.py each act takes `audit`, and a long one goes in slices. An entry in the audit log names
a session by its number: its id and its title are the user's words.
"""

from __future__ import annotations

from collections.abc import Callable

from webapp.errors import NotFound
from webapp.memory.clearing.parts import (
    ClearedPart,
    clear_session_part,
    clear_unlisted_part,
    forget_session_part,
)
from webapp.memory.sessions import store as sessions
from webapp.memory.sessions.listing import store as listing
from webapp.memory.sessions.listing.query import Page, SessionQuery
from webapp.memory.sessions.store import SessionSummary
from webapp.memory.sessions.titles import check_title
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.storage.slices import in_slices
from webapp.tenants import store as tenants
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.user_ids.forms import UserIds

_Part = Callable[[Connection, int, SessionSummary], ClearedPart]


class SessionActs:
    """The sessions of every tenant, by readable user ids. An unknown one is never made."""

    def __init__(self, database: Database, user_ids: UserIds) -> None:
        self._database = database
        self._user_ids = user_ids

    def page(self, user_id: str, query: SessionQuery) -> Page:
        """A page of the tenant's sessions; an empty one for a tenant that is not known."""
        with self._database.read() as connection:
            tenant = self._narrowed(connection, user_id)
            return Page(()) if tenant is None else listing.page(connection, tenant, query)

    def count(self, user_id: str) -> int:
        with self._database.read() as connection:
            tenant = self._narrowed(connection, user_id)
            return 0 if tenant is None else sessions.count(connection, tenant)

    def find(self, user_id: str, session_id: str) -> SessionSummary | None:
        with self._database.read() as connection:
            return self._find(connection, user_id, session_id)[1]

    def get(self, user_id: str, session_id: str) -> SessionSummary:
        """Raises `NotFound`."""
        return _known(self.find(user_id, session_id))

    def rename(
        self, user_id: str, session_id: str, title: str | None, *, audit: Audit | None = None
    ) -> SessionSummary:
        """Gives the session a title, or with None the one made from its first question.

        Raises `NotFound` or `InvalidInput`.
        """
        given = None if title is None else check_title(title)

        def work(connection: Connection) -> SessionSummary:
            tenant = self._narrowed(connection, user_id)
            if tenant is None:
                raise _unknown()
            tenants.hold(connection, tenant)
            number = sessions.rename(connection, tenant, session_id, given)
            if audit is not None and number is not None:
                kept = {"session": number, "own_title": given is not None}
                audit(connection, AuditNote("rename_session", tenant, after=kept))
            return _known(sessions.find(connection, tenant, session_id))

        return self._database.write(work)

    def clear(self, user_id: str, session_id: str, *, audit: Audit | None = None) -> int:
        """Removes the session's messages; it stays with its title and state. 0 when there is no
        such session."""
        gone = self._act(user_id, session_id, clear_session_part, "clear_session", audit)
        return gone or 0

    def forget(self, user_id: str, session_id: str, *, audit: Audit | None = None) -> int:
        """Deletes the session with all that is its; how many messages it had. Raises
        `NotFound`."""
        gone = self._act(user_id, session_id, forget_session_part, "forget_session", audit)
        if gone is None:
            raise _unknown()
        return gone

    def _act(
        self, user_id: str, session_id: str, part_of: _Part, action: str, audit: Audit | None
    ) -> int | None:
        """How many messages went; None when there is no such session, and nothing of its name."""
        total, known = 0, False

        def step(connection: Connection) -> ClearedPart | None:
            tenant, session = self._find(connection, user_id, session_id)
            if tenant is None:
                return None
            number: dict[str, int] = {}
            if session is None:
                named = clear_unlisted_part(connection, tenant, session_id)
                if not named.found and not known:
                    return None
                part = ClearedPart(finished=named.finished)
            else:
                part = part_of(connection, tenant, session)
                number = {"session": session.number}
            if audit is not None:
                if part.finished:
                    figures = number | {"messages": total + part.messages}
                    audit(connection, AuditNote(action, tenant, figures))
                elif not known:
                    audit(connection, AuditNote(f"{action}_begun", tenant, begun=True))
            return part

        for part in in_slices(
            self._database, step, lambda part: part is not None and not part.finished
        ):
            if part is not None:
                total, known = total + part.messages, True
        if known:
            self._database.empty_log()
        return total if known else None

    def _find(
        self, connection: Connection, user_id: str, session_id: str
    ) -> tuple[int | None, SessionSummary | None]:
        tenant = self._narrowed(connection, user_id)
        if tenant is None:
            return None, None
        return tenant, sessions.find(connection, tenant, session_id)

    def _narrowed(self, connection: Connection, user_id: str) -> int | None:
        """The tenant's number; from here on the unit of work sees this tenant alone."""
        tenant = tenants.number_of(connection, self._user_ids.stored(user_id))
        if tenant is not None:
            narrow(connection, tenant)
        return tenant


def _known(session: SessionSummary | None) -> SessionSummary:
    if session is None:
        raise _unknown()
    return session


def _unknown() -> NotFound:
    return NotFound("There is no such session.")
