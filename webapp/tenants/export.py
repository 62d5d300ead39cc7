"""Writes all that is known of one tenant as JSON Lines; reading them back is importing.py's.

The first line says what this is, the last how much there should be, so that a file that was cut
off is known for one. Each line between has a `type`: tenant, session, message, request, usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from webapp.errors import NotFound
from webapp.memory.pages import Position, StoredMessage, message_page
from webapp.storage import Database
from webapp.tenants.rows import TenantRow, find_number
from webapp.usage.periods import iso_utc

FORMAT = "switchboard-tenant"
VERSION = 1
_PAGE = 500


def export_lines(
    database: Database, tenant: TenantRow, now_ms: int, *, conversations: bool = True
) -> Iterator[bytes]:
    """The lines, each with its line feed, read page by page while they are sent.

    `tenant.user_id` is the readable one. Without `conversations` no message and no session state
    is in it. A tenant that is forgotten half way ends it without its last line.
    """
    yield _line(
        {
            "type": FORMAT,
            "version": VERSION,
            "exported_at": iso_utc(now_ms),
            "conversations": conversations,
        }
    )
    yield _line({"type": "tenant", **tenant_fields(tenant)})
    counts = {"session": 0, "message": 0, "request": 0, "usage": 0}
    sources = [_sessions(database, tenant.number, conversations)]
    if conversations:
        sources.append(_messages(database, tenant.number))
    sources += [_requests(database, tenant.number), _usage(database, tenant.number)]
    for source in sources:
        for fields in source:
            counts[fields["type"]] += 1
            yield _line(fields)
    with database.read() as connection:
        if find_number(connection, tenant.number) is None:
            raise NotFound("This tenant was forgotten during the export.")
    yield _line({"type": "end", **{f"{kind}s": number for kind, number in counts.items()}})


def tenant_fields(tenant: TenantRow) -> dict[str, Any]:
    """One tenant as the REST API and the export show it."""
    return {
        "user_id": tenant.user_id,
        "message_count": tenant.message_count,
        "request_count": tenant.request_count,
        "error_count": tenant.error_count,
        "rate_limited_count": tenant.rate_limited_count,
        "total_tokens": tenant.total_tokens,
        "p95_ms": tenant.p95_ms or None,
        "last_active_at": iso_utc(tenant.last_active_at),
        "created_at": iso_utc(tenant.created_at),
        "blocked": tenant.blocked,
        "rate_limit": tenant.rate_limit,
        "token_budget": tenant.token_budget,
        "input_tokens": tenant.input_tokens,
        "output_tokens": tenant.output_tokens,
    }


def message_fields(stored: StoredMessage) -> dict[str, Any]:
    """One message as the REST API and the export show it."""
    message = stored.message
    fields: dict[str, Any] = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "created_at": iso_utc(message.created_at_ms),
        "session_id": stored.session_id,
    }
    if message.tool_calls:
        fields["tool_calls"] = [call.as_dict() for call in message.tool_calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _sessions(database: Database, tenant: int, with_state: bool) -> Iterator[dict[str, Any]]:
    for row in _rows(
        database,
        "SELECT id, session_id, created_at, last_active_at, state, state_version FROM sessions"
        " WHERE tenant_id = :tenant AND id > :last ORDER BY id LIMIT :page",
        tenant,
    ):
        fields = {
            "type": "session",
            "session_id": row[1],
            "created_at": iso_utc(row[2]),
            "last_active_at": iso_utc(row[3]),
        }
        if with_state and row[4] is not None:
            fields |= {"state": json.loads(row[4]), "state_version": row[5]}
        yield fields


def _messages(database: Database, tenant: int) -> Iterator[dict[str, Any]]:
    after: Position | None = None
    while True:
        with database.read() as connection:
            page = message_page(connection, tenant, None, _PAGE, after=after)
        for stored in page:
            yield {"type": "message", **message_fields(stored)}
        if len(page) < _PAGE:
            return
        after = page[-1].position


def _requests(database: Database, tenant: int) -> Iterator[dict[str, Any]]:
    names = ("route", "status", "code", "latency_ms", "first_token_ms", "input_tokens")
    for row in _rows(
        database,
        "SELECT id, at, route, status, code, latency_ms, first_token_ms, input_tokens,"
        " output_tokens, request_id FROM requests"
        " WHERE tenant_id = :tenant AND id > :last ORDER BY id LIMIT :page",
        tenant,
    ):
        fields = dict(zip((*names, "output_tokens", "request_id"), row[2:], strict=True))
        yield {"type": "request", "at": iso_utc(row[1]), **fields}


def _usage(database: Database, tenant: int) -> Iterator[dict[str, Any]]:
    names = ("requests", "errors", "rate_limited", "input_tokens", "output_tokens")
    for row in _rows(
        database,
        "SELECT at, SUM(requests), SUM(errors), SUM(rate_limited), SUM(input_tokens),"
        " SUM(output_tokens) FROM usage WHERE tenant_id = :tenant AND period = 'day'"
        " AND measure = 'request' AND at > :last GROUP BY at ORDER BY at LIMIT :page",
        tenant,
    ):
        figures = dict(zip(names, row[1:], strict=True))
        yield {"type": "usage", "day": iso_utc(row[0])[:10], **figures}


def _rows(database: Database, sql: str, tenant: int) -> Iterator[tuple[Any, ...]]:
    """All rows of a statement whose first column grows, a page for each short read."""
    last = -1
    while True:
        with database.read() as connection:
            asked = {"tenant": tenant, "last": last, "page": _PAGE}
            page = connection.execute(sql, asked).fetchall()
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1][0]


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
