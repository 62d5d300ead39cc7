"""A tenant's sessions: searched, sorted, page by page; and the page of one, with what was said."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp.memory.sessions.listing.query import DEFAULT_SORT, Position, SessionQuery
from webapp.memory.sessions.titles import MAX_TITLE_CHARS
from webapp.memory.states.store import StoredState
from webapp.session_state.values import read_fields, values_of
from webapp.web.admin.display.list_view import ListView, Pages
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.admin.pages.talk import shown, talk
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

ROWS = 50
STATE_CHARS = 20_000


class SessionsQuery(FormShape):
    search: str = Field(default="", max_length=255)
    sort: str = Field(default=DEFAULT_SORT, max_length=40)
    cursor: Cursor | None = None

    def asked(self) -> SessionQuery:
        """The list from its beginning."""
        return SessionQuery(self.search.strip(), self.sort, ROWS)


def sessions(user_id: str) -> ResponseReturnValue:
    row, query = services().directory.get(user_id), bind_page(SessionsQuery)
    asked = query.asked()
    of_list = ("sessions", row.number, asked.sort, asked.search)
    position = read_cursor(query.cursor, Position, *of_list)
    page = services().sessions.page(user_id, replace(asked, position=position))
    here = url_for("admin.sessions", user_id=user_id)
    view = ListView(here, {"search": query.search}, query.sort)

    def url(place: Position | None) -> str | None:
        return None if place is None else view.url(cursor=write_cursor(place, *of_list))

    return render_template(
        "admin/sessions.html",
        tenant=row,
        view=view,
        search=query.search,
        rows=page.rows,
        pages=Pages(
            previous_url=url(page.preceding),
            next_url=url(page.following),
            first_url=view.url() if query.cursor else None,
        ),
        total=None if view.filtered else services().sessions.count(user_id),
    )


def session(user_id: str, session_id: str) -> ResponseReturnValue:
    return session_page(user_id, session_id)


def session_page(user_id: str, session_id: str, **faults: str) -> str:
    """The page; `faults` are a refused form's sentence, and what was typed."""
    row = services().directory.get(user_id)
    found = services().sessions.get(user_id, session_id)
    stored = services().states.get(user_id, session_id)
    return render_template(
        "admin/session.html",
        tenant=row,
        session=found,
        conversation=shown(row, session_id, talk(row, session_id)),
        state=None if stored.text is None else _shown_state(stored),
        max_title_chars=MAX_TITLE_CHARS,
        **faults,
    )


@dataclass(frozen=True, slots=True)
class ShownState:
    """A session's state as text to be read; `left_out` of its characters are not in it."""

    version: int
    text: str
    left_out: int


def _shown_state(stored: StoredState) -> ShownState:
    whole = json.dumps(values_of(read_fields(stored.text)), ensure_ascii=False, indent=2)
    text = whole[:STATE_CHARS]
    return ShownState(stored.version, text, len(whole) - len(text))
