"""One tenant's page, its conversation page by page, and the export of all its data."""

from __future__ import annotations

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp.accounts import audit
from webapp.accounts.audit import AuditFilter
from webapp.accounts.privacy import HIDDEN
from webapp.accounts.roles import Permission
from webapp.chat.approvals import count_waiting, waiting
from webapp.errors import Forbidden
from webapp.memory.paging.conversation import Place
from webapp.memory.sessions.listing import store as listing
from webapp.memory.sessions.listing.query import SessionQuery
from webapp.memory.sessions.store import count as count_sessions
from webapp.periods import DAY_MS, month_span
from webapp.served_workflows.reading import run_page
from webapp.storage.narrowing import narrow
from webapp.tenant_data.transfers import Format
from webapp.usage.store import latest_requests
from webapp.usage.summary import summary
from webapp.usage.sums.store import tokens_between
from webapp.usage.windows import WINDOWS
from webapp.web.admin.display.charts import latency_chart, traffic_chart
from webapp.web.admin.display.downloads import download
from webapp.web.admin.figures.windows import WindowName
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.admin.pages.audit import readable
from webapp.web.admin.pages.talk import address, shown, talk
from webapp.web.admin.session.visitor import visitor
from webapp.web.audited import audited
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor

REQUESTS = 20
RUNS = 5
ENTRIES = 10
SESSIONS = 12
WAITING = 20


class TenantQuery(FormShape):
    window: WindowName = "24h"
    session_id: str | None = Field(default=None, max_length=255)


class ConversationQuery(FormShape):
    session_id: str | None = Field(default=None, max_length=255)
    cursor: Cursor | None = None


def tenant(user_id: str) -> ResponseReturnValue:
    return tenant_page(user_id)


def tenant_page(user_id: str, **faults: str) -> str:
    """The page; `faults` are a refused form's sentences, and what was typed."""
    query = bind_page(TenantQuery)
    row, window, now = services().directory.get(user_id), WINDOWS[query.window], _now()
    with services().database.read() as connection:
        narrow(connection, row.number)
        usage = summary(connection, row.number, window, now)
        may_read = visitor().may(Permission.READ_CONVERSATIONS)
        newest = SessionQuery(limit=SESSIONS)
        sessions = listing.page(connection, row.number, newest).rows if may_read else ()
        session_count = count_sessions(connection, row.number)
        session_id = query.session_id or (sessions[0].session_id if sessions else None)
        acts = audit.page(connection, AuditFilter(tenant_id=row.number), limit=ENTRIES).records
        requests = latest_requests(connection, row.number, REQUESTS)
        waits = waiting(connection, row.number, now, WAITING)
        waiting_count = count_waiting(connection, row.number, now)
        day = now - now % DAY_MS
        used = {
            "day": tokens_between(connection, row.number, day, day + DAY_MS),
            "month": tokens_between(connection, row.number, *month_span(now)),
        }
    settings = services().settings
    return render_template(
        "admin/tenant.html",
        tenant=row,
        window=window.name,
        window_urls={
            name: url_for("admin.tenant", user_id=user_id, window=name, session_id=query.session_id)
            for name in WINDOWS
        },
        usage=usage,
        traffic=traffic_chart(usage.series),
        latency=latency_chart(usage.series),
        conversation=shown(row, session_id, talk(row, session_id)),
        requests=requests,
        runs=run_page(services().database, row.number, limit=RUNS).rows,
        waiting=waits,
        waiting_count=waiting_count,
        sessions=sessions,
        session_count=session_count,
        audit=[readable(entry) for entry in acts],
        default_rate_limit=settings.rate_limit,
        default_token_budget=settings.token_budget,
        tokens_used=used,
        export_url=url_for("admin.tenant_export", user_id=user_id),
        **faults,
    )


def conversation_page(user_id: str) -> ResponseReturnValue:
    """Earlier messages as a page; the script takes only the messages from it."""
    query = bind_page(ConversationQuery)
    row = services().directory.get(user_id)
    place = read_cursor(query.cursor, Place, "messages", row.number, query.session_id)
    page = talk(row, query.session_id, place)
    return render_template(
        "admin/conversation.html",
        tenant=row,
        conversation={
            **shown(row, query.session_id, page),
            "later_url": address(row, query.session_id, page.later),
        },
    )


class ExportQuery(FormShape):
    format: Format = "switchboard"


def export(user_id: str) -> ResponseReturnValue:
    """All the tenant's data as JSON Lines, or its conversations in OpenAI's format; the audit log
    notes the export."""
    form = bind_page(ExportQuery).format
    hidden = services().settings.hide_conversations
    if form == "openai" and hidden:
        raise Forbidden(HIDDEN, code="conversations_hidden")
    pieces = services().acts.transfers.export(
        user_id, conversations=not hidden, form=form, audit=audited()
    )
    name = user_id if form == "switchboard" else f"{user_id}-openai"
    return download(f"{name}.jsonl", "application/jsonl", pieces)


def _now() -> int:
    return services().clock.now_ms()
