"""Stores an export that has been read, in one transaction; reading it is reading.py's.

A tenant that was unknown becomes what the export says: conversations, session state, its own
limits and its block, times, requests and usage. A tenant that is known gets the conversations and
the session state alone: its figures would be counted twice, and nobody means to unblock it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from webapp.errors import Conflict
from webapp.memory.sessions import store as sessions
from webapp.storage import Connection
from webapp.storage.narrowing import narrow
from webapp.tenant_data.storing import store_messages
from webapp.tenant_data.transfer.reading import Contents, ms
from webapp.tenant_data.transfer.shapes import Session, Tenant
from webapp.tenants import store
from webapp.tenants.counters import store as counters
from webapp.usage import histogram
from webapp.usage.of_tenant import store as usage


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of an import; `note` says which parts of the export were left out, '' for
    none."""

    sessions: int
    messages: int
    messages_left_out: int
    requests: int
    new_tenant: bool
    note: str


def store_import(
    connection: Connection,
    stored_id: str,
    contents: Contents,
    now_ms: int,
    *,
    cap: int,
    user_id: str = "",
) -> tuple[int, Imported]:
    """Stores it under the tenant; its number and what came.

    `Conflict` when a session of that name is in use already: two conversations are not mixed.
    Sessions longer than `cap` (0: any length) keep their newest turns.
    """
    number, made = store.make(connection, stored_id, now_ms, user_id=user_id)
    narrow(connection, number)
    store.hold(connection, number)
    kept = _put_sessions(connection, number, contents, now_ms, cap)
    if made:
        counters.put(connection, number, _tenant_values(contents.tenant, now_ms))
        usage.put_requests(connection, number, contents.requests)
        usage.put_usage(connection, number, contents.usage)
    imported = Imported(
        sessions=len(contents.sessions),
        messages=kept,
        messages_left_out=contents.message_count - kept,
        requests=len(contents.requests) if made else 0,
        new_tenant=made,
        note=_note(contents, known=not made, left_out=contents.message_count - kept, cap=cap),
    )
    return number, imported


def _put_sessions(
    connection: Connection, tenant: int, contents: Contents, now_ms: int, cap: int
) -> int:
    """Stores the sessions; gives the number of messages stored."""
    kept = 0
    for name, session in contents.sessions.items():
        created, active = _times(session, now_ms)
        values = {
            "created_at": created,
            "last_active_at": active,
            "state": None if session.state is None else _json(session.state),
            "state_version": session.state_version,
            **session.model_dump(include=set(sessions.FIGURES)),
        }
        if not sessions.put(connection, tenant, name, values):
            raise Conflict(
                "The tenant has a session of the same name that is in use; nothing was imported."
            )
        messages = contents.messages.get(name, [])
        if messages:
            growth = store_messages(connection, tenant, name, messages, cap, now_ms)
            kept += growth.size if growth else 0
            sessions.put_times(connection, tenant, name, created, active)
    return kept


def _times(given: Session | Tenant, now_ms: int) -> tuple[int, int]:
    """Made and last active, never in the future: a clean-up would wait for it to come."""
    active = now_ms if given.last_active_at is None else min(ms(given.last_active_at), now_ms)
    created = active if given.created_at is None else min(ms(given.created_at), now_ms)
    return created, active


def _tenant_values(tenant: Tenant, now_ms: int) -> dict[str, Any]:
    created, active = _times(tenant, now_ms)
    blocked_at = None
    if tenant.blocked:
        blocked_at = now_ms if tenant.blocked_at is None else min(ms(tenant.blocked_at), now_ms)
    return {
        **tenant.model_dump(
            include={
                *("rate_limit", "token_budget", "request_count", "error_count"),
                *("rate_limited_count", "input_tokens", "output_tokens", "p95_ms"),
                "dropped_session_count",
            }
        ),
        "created_at": created,
        "last_active_at": active,
        "blocked_at": blocked_at,
        "latency_histogram": histogram.write(tenant.latency_histogram),
        "budget_day": tenant.budget.day,
        "day_tokens": tenant.budget.day_tokens,
        "budget_month": tenant.budget.month,
        "month_tokens": tenant.budget.month_tokens,
    }


def _note(contents: Contents, *, known: bool, left_out: int, cap: int) -> str:
    sentences = []
    if known:
        sentences.append(
            "The tenant was known already, so its limits, block, times, requests and usage stay"
            " as they were."
        )
    elif contents.version == 1:
        sentences.append(
            "The export is of version 1, which holds no latencies by hour and day and no use of"
            " the token budget."
        )
    if left_out:
        why = (
            f"a session keeps at most {cap}"
            if cap
            else "results of tools without their calls are not kept"
        )
        sentences.append(f"{left_out} messages were left out, because {why}.")
    if not contents.conversations:
        sentences.append("The export was made without conversations.")
    return " ".join(sentences)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
