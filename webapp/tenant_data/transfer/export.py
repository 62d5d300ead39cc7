"""Writes all that is known of one tenant as JSON Lines; reading them back is reading.py's.

An export of all tenants has a line before, such a part for each tenant, and a line behind.

The first line says what this is, the last how much there should be, so that a file that was cut
off is known for one. Each line between has a `type`: tenant, session, message, note, workflow_run,
workflow_step, request, usage. Version 3 added notes and runs of workflows.
Version 2 holds the sums of usage as they are kept, by hour and day with their latencies, and the
tenant's use of its budget; version 1 had sums by day alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from webapp.errors import NotFound
from webapp.memory.fields import message_fields
from webapp.memory.notes import store as notes
from webapp.memory.paging.store import Position, message_page
from webapp.memory.sessions import store as sessions
from webapp.memory.workflow_runs.store import STEP_COLUMNS
from webapp.memory.workflow_runs.transfer import store as runs
from webapp.periods import iso_utc
from webapp.storage import Connection
from webapp.storage.narrowing import narrow
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.tenants.fields import tenant_fields
from webapp.tenants.rows import TenantRow
from webapp.usage.of_tenant import store as usage
from webapp.usage.of_tenant.store import USAGE_COLUMNS
from webapp.usage.store import COLUMNS
from webapp.usage.sums.store import all_of

FORMAT = "switchboard-tenant"
VERSION = 3
ALL_FORMAT = "switchboard-tenants"
ALL_VERSION = 1
ALL_END = "end-of-tenants"
PAGE = 500
FIRST_ROW = -(2**63)


COUNTED = ("session", "message", "note", "workflow_run", "workflow_step", "request", "usage")
RUN_JSON = ("input", "output", "state")
STEP_JSON = ("output", "changes")

Reading = Callable[[], AbstractContextManager[Connection]]
"""A short read, for each page anew."""


def at_one_moment(connection: Connection) -> Reading:
    """All pages of the moment that this connection sees."""
    return lambda: nullcontext(connection)


def head_of_all(now_ms: int, *, conversations: bool) -> bytes:
    """The first line of an export of all tenants."""
    return line_of(
        {
            "type": ALL_FORMAT,
            "version": ALL_VERSION,
            "exported_at": iso_utc(now_ms),
            "conversations": conversations,
        }
    )


def end_of_all(tenants: int) -> bytes:
    """The last line of an export of all tenants."""
    return line_of({"type": ALL_END, "tenants": tenants})


def export_lines(
    reading: Reading, tenant: TenantRow, now_ms: int, *, conversations: bool = True
) -> Iterator[bytes]:
    """The lines, each with its line feed, read page by page while they are sent.

    `tenant.user_id` is the readable one. Without `conversations` no message and no session is in
    it: their names are the user's words as well. A tenant that is forgotten half way ends it
    without its last line.
    """
    yield line_of(
        {
            "type": FORMAT,
            "version": VERSION,
            "exported_at": iso_utc(now_ms),
            "conversations": conversations,
        }
    )
    # The counters and the sums, which must agree, are of one moment.
    with reading() as connection:
        narrow(connection, tenant.number)
        now = tenants.find_number(connection, tenant.number) or tenant
        latest = counters.latest(connection, tenant.number)
        sums = all_of(connection, tenant.number)
    latencies = {} if latest is None else json.loads(latest.latencies)
    now = replace(now, user_id=tenant.user_id)
    yield line_of({"type": "tenant", **_whole(now), "latency_histogram": latencies})
    counts = dict.fromkeys(COUNTED, 0)
    sources: list[Iterator[dict[str, Any]]] = []
    if conversations:
        sources += [_sessions(reading, tenant.number), _messages(reading, tenant.number)]
        sources += [_notes(reading, tenant.number), _runs(reading, tenant.number)]
    sources += [_requests(reading, tenant.number), _usage(sums)]
    for source in sources:
        for fields in source:
            counts[fields["type"]] += 1
            yield line_of(fields)
    with reading() as connection:
        if tenants.find_number(connection, tenant.number) is None:
            raise NotFound("This tenant was forgotten during the export.")
    yield line_of({"type": "end", **{f"{kind}s": number for kind, number in counts.items()}})


def _whole(tenant: TenantRow) -> dict[str, Any]:
    """One tenant as an export shows it: what it takes to make it again."""
    return {
        **tenant_fields(tenant),
        "blocked_at": None if tenant.blocked_at is None else iso_utc(tenant.blocked_at),
        "p95_ms": tenant.p95_ms,
        "budget": {
            "day": tenant.budget_day,
            "day_tokens": tenant.day_tokens,
            "month": tenant.budget_month,
            "month_tokens": tenant.month_tokens,
        },
    }


def _sessions(reading: Reading, tenant: int) -> Iterator[dict[str, Any]]:
    for row in _rows(reading, sessions.page, tenant):
        fields = {
            "type": "session",
            "session_id": row[1],
            "created_at": iso_utc(row[2]),
            "last_active_at": iso_utc(row[3]),
        }
        if row[4] is not None or row[5]:
            fields |= {"state": json.loads(row[4] or "null"), "state_version": row[5]}
        fields |= zip(sessions.FIGURES, row[6:-3], strict=True)
        text, through, made_at = row[-3:]
        if text is not None:
            fields["summary"] = {"text": text, "through": through, "made_at": iso_utc(made_at)}
        yield fields


def _messages(reading: Reading, tenant: int) -> Iterator[dict[str, Any]]:
    after: Position | None = None
    while True:
        with reading() as connection:
            narrow(connection, tenant)
            page = message_page(connection, tenant, None, PAGE, after=after)
        for stored in page:
            yield {"type": "message", **message_fields(stored)}
        if len(page) < PAGE:
            return
        after = page[-1].position


def _notes(reading: Reading, tenant: int) -> Iterator[dict[str, Any]]:
    for number, content, created_at in _rows(reading, notes.page, tenant):
        yield {
            "type": "note",
            "number": number,
            "content": content,
            "created_at": iso_utc(created_at),
        }


def _runs(reading: Reading, tenant: int) -> Iterator[dict[str, Any]]:
    """Each run of a workflow, and then the lines of its journal."""
    for row in _rows(reading, runs.page, tenant):
        fields = _readable(runs.RUN_COLUMNS, row[1:], RUN_JSON)
        for name in ("created_at", "updated_at"):
            fields[name] = iso_utc(fields[name])
        yield {"type": "workflow_run", **fields}

        def steps(
            connection: Connection, tenant: int, after: int, limit: int, run: int = row[0]
        ) -> list[tuple[Any, ...]]:
            return runs.steps_page(connection, tenant, run, after, limit)

        for step in _rows(reading, steps, tenant):
            told = _readable(STEP_COLUMNS, step[1:], STEP_JSON)
            told |= {"visible": bool(told["visible"]), "started_at": iso_utc(told["started_at"])}
            yield {"type": "workflow_step", "run_id": fields["run_id"], **told}


def _readable(
    columns: Sequence[str], row: Sequence[Any], of_json: Collection[str]
) -> dict[str, Any]:
    """The row's values by their names; what is JSON is read, and left out where there is none."""
    fields = dict(zip(columns, row, strict=True))
    return {
        name: json.loads(value) if name in of_json else value
        for name, value in fields.items()
        if name not in of_json or value is not None
    }


def _requests(reading: Reading, tenant: int) -> Iterator[dict[str, Any]]:
    for row in _rows(reading, usage.request_page, tenant):
        fields = dict(zip(COLUMNS, row[1:], strict=True))
        yield {"type": "request", **fields, "at": iso_utc(fields["at"])}


def _usage(rows: list[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        fields = dict(zip(USAGE_COLUMNS, row, strict=True))
        yield {"type": "usage", **fields, "at": iso_utc(fields["at"])}


_Page = Callable[[Connection, int, int, int], list[tuple[Any, ...]]]


def _rows(reading: Reading, read: _Page, tenant: int) -> Iterator[tuple[Any, ...]]:
    """All rows of a page's kind, whose first column grows, a page for each short read."""
    last = FIRST_ROW
    while True:
        with reading() as connection:
            narrow(connection, tenant)
            page = read(connection, tenant, last, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1][0]


def line_of(fields: dict[str, Any]) -> bytes:
    """The object as a line of JSON Lines."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
