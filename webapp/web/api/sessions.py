"""/api/tenants/{user_id}/sessions: a tenant's sessions: list, show, rename, clear, forget."""

from __future__ import annotations

from flask import Response
from pydantic import ConfigDict, Field

from webapp.accounts.roles import Permission
from webapp.errors import InvalidInput
from webapp.ids import check_session_id
from webapp.memory.fields import session_fields
from webapp.memory.sessions.listing.query import DEFAULT_SORT, SORTS, Position, SessionQuery
from webapp.memory.sessions.titles import MAX_TITLE_CHARS
from webapp.web.answers import (
    Cleared,
    ForgottenSession,
    Session,
    SessionList,
    answer,
)
from webapp.web.api.tenants import Limit, Search, tenant_of_path
from webapp.web.audited import audited
from webapp.web.binding import TITLE_PATTERN, QueryShape, Shape, bind_json, bind_query
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor
from webapp.web.guards import require


class SessionsQuery(QueryShape):
    """The query of GET /api/tenants/{user_id}/sessions."""

    search: Search = ""
    sort: str = Field(DEFAULT_SORT, json_schema_extra={"enum": list(SORTS)})
    limit: Limit = 50
    cursor: Cursor | None = None


class SessionPatch(Shape):
    """The body of PATCH /api/tenants/{user_id}/sessions/{session_id}; null goes back to the title
    that is made from the first question."""

    model_config = ConfigDict(json_schema_extra={"required": ["title"]})

    title: str | None = Field(
        None,
        json_schema_extra={"minLength": 1, "maxLength": MAX_TITLE_CHARS, "pattern": TITLE_PATTERN},
    )


def list_sessions(user_id: str) -> Response:
    """A page of the tenant's sessions; an unknown tenant has none."""
    user_id = tenant_of_path(user_id)
    asked = bind_query(SessionsQuery)
    of_list = ("sessions", services().directory.number(user_id), asked.sort, asked.search)
    position = read_cursor(asked.cursor, Position, *of_list)
    query = SessionQuery(asked.search, asked.sort, asked.limit, position)
    page = services().sessions.page(user_id, query)
    following = write_cursor(page.following, *of_list)
    return answer(
        SessionList, {"sessions": map(session_fields, page.rows), "next_cursor": following}
    )


def get_session(user_id: str, session_id: str) -> Response:
    """One session; what was said in it is in the tenant's messages."""
    user_id, session_id = _of_path(user_id, session_id)
    return answer(Session, session_fields(services().sessions.get(user_id, session_id)))


def change_session(user_id: str, session_id: str) -> Response:
    """Renames one session; answers with the session as it is now."""
    require(Permission.READ_CONVERSATIONS)()
    user_id, session_id = _of_path(user_id, session_id)
    asked = bind_json(SessionPatch)
    if not asked.model_fields_set:
        raise InvalidInput("The body must name title.")
    session = services().sessions.rename(user_id, session_id, asked.title, audit=audited())
    return answer(Session, session_fields(session))


def clear_session(user_id: str, session_id: str) -> Response:
    """Clears one session; one that is not known has nothing to clear."""
    user_id, session_id = _of_path(user_id, session_id)
    cleared = services().sessions.clear(user_id, session_id, audit=audited())
    return answer(Cleared, {"cleared": cleared})


def forget_session(user_id: str, session_id: str) -> Response:
    """Deletes one session with all that is its; answers with what was deleted."""
    user_id, session_id = _of_path(user_id, session_id)
    gone = services().sessions.forget(user_id, session_id, audit=audited())
    return answer(ForgottenSession, {"messages": gone})


def _of_path(user_id: str, session_id: str) -> tuple[str, str]:
    return tenant_of_path(user_id), check_session_id(session_id)
