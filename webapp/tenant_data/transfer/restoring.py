"""Stores an import that has been checked, in the transaction of its caller; reading it is
reading.py's.

A tenant that was unknown becomes what the export says: conversations, session state, its own
limits and its block, times, requests and usage. A tenant that is known gets the conversations and
the session state alone: its figures would be counted twice, and nobody means to unblock it.

Items are stored as they come, a bounded number at a time: an import need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from webapp.errors import Conflict
from webapp.memory.notes import store as notes
from webapp.memory.sessions import store as sessions
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.memory.workflow_runs.transfer import store as runs
from webapp.messages import Message
from webapp.storage import Connection
from webapp.storage.narrowing import narrow, widen
from webapp.tenant_data.storing import store_messages
from webapp.tenant_data.transfer.items import (
    Begun,
    Ended,
    Item,
    Noted,
    Ran,
    Requested,
    Said,
    Stepped,
    Used,
)
from webapp.tenant_data.transfer.reading import json_text, ms
from webapp.tenant_data.transfer.shapes import RunningSummary, Session, Tenant
from webapp.tenants import store
from webapp.tenants.counters import store as counters
from webapp.usage import histogram
from webapp.usage.of_tenant import store as usage

AT_ONCE = 1000
UNDER_WAY = "The run was under way when it was exported."


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


class Named(Protocol):
    """Says under which ids a tenant's part is stored: in the stored form, and readable."""

    def __call__(self, begun: Begun) -> tuple[str, str]: ...


Counts = Iterable[Ended]
Stored = tuple[int, Imported]
"""A tenant's number and what came."""


def store_import(
    connection: Connection,
    named: Named,
    items: Iterable[Item],
    counts: Counts,
    now_ms: int,
    *,
    cap: int,
) -> Iterator[Stored]:
    """Stores it, tenant by tenant.

    `counts` are the `Ended` among the items, which a first look has found. `Conflict` when a
    session of a name is in use already: two conversations are not mixed. Sessions longer than
    `cap` (0: any length) keep their newest turns.
    """
    ends = iter(counts)
    under_way: _Tenant | None = None
    for item in items:
        if isinstance(item, Begun):
            widen(connection)
            stored_id, user_id = named(item)
            number, made = store.make(connection, stored_id, now_ms, user_id=user_id)
            narrow(connection, number)
            store.hold(connection, number)
            under_way = _Tenant(connection, number, made, item, next(ends), now_ms, cap)
        elif under_way is not None:
            under_way.take(item)
            if isinstance(item, Ended):
                yield number, under_way.imported()


class _Tenant:
    """One tenant whose part is being stored."""

    def __init__(
        self,
        connection: Connection,
        number: int,
        made: bool,
        begun: Begun,
        count: Ended,
        now_ms: int,
        cap: int,
    ) -> None:
        self._connection = connection
        self._number = number
        self._made = made
        self._begun = begun
        self._count = count
        self._now_ms = now_ms
        self._cap = cap
        self._times: dict[str, tuple[int, int]] = {}
        self._sizes: dict[str, int] = {}
        self._speaking = ""
        self._said: list[Message] = []
        self._requests: list[dict[str, Any]] = []
        self._usage: list[dict[str, Any]] = []
        self._run: int | None = None
        self._step = 0
        self._next_request = 0
        if made and begun.tenant is not None and count.requests:
            self._next_request = usage.reserve(connection, count.requests)

    def take(self, item: Item) -> None:
        if isinstance(item, Said):
            if item.session_id not in self._times:
                self._put_session(Session(session_id=item.session_id))
            self._say(item)
        elif isinstance(item, Session):
            self._put_session(item)
        elif isinstance(item, Noted):
            number = item.number if self._made else None
            notes.restore(self._connection, self._number, number, item.content, item.at_ms)
        elif isinstance(item, Ran):
            self._run = runs.put(self._connection, self._number, _at_rest(item.values))
            self._step = 0
        elif isinstance(item, Stepped):
            self._put_step(item)
        elif isinstance(item, Requested):
            self._gather(self._requests, item.values, self._put_requests)
        elif isinstance(item, Used):
            self._gather(self._usage, item.values, self._put_usage)
        elif isinstance(item, Ended):
            self._end()

    def imported(self) -> Imported:
        kept = sum(self._sizes.values())
        left_out = self._count.messages - kept
        return Imported(
            sessions=len(self._times),
            messages=kept,
            messages_left_out=left_out,
            requests=self._count.requests if self._made else 0,
            new_tenant=self._made,
            note=_note(self._begun, known=not self._made, left_out=left_out, cap=self._cap),
        )

    def _put_session(self, session: Session) -> None:
        created, active = self._times[session.session_id] = _times(session, self._now_ms)
        values = {
            "created_at": created,
            "last_active_at": active,
            "state": None if session.state is None else json_text(session.state),
            "state_version": session.state_version,
            **session.model_dump(include=set(sessions.FIGURES)),
        }
        if not sessions.put(self._connection, self._number, session.session_id, values):
            raise Conflict(
                f"The tenant in line {self._begun.line} has a session of the same name that is in"
                " use; nothing was imported."
            )
        if session.summary is not None:
            summary = _summary(session.summary)
            summaries.restore(self._connection, self._number, session.session_id, summary)

    def _say(self, item: Said) -> None:
        # Only where a turn begins, so that each is cut as a whole.
        full = len(self._said) >= AT_ONCE and item.message.role == "user"
        if full or item.session_id != self._speaking:
            self._put_messages()
            self._speaking = item.session_id
        self._said.append(item.message)

    def _put_messages(self) -> None:
        if not self._said:
            return
        said, self._said = self._said, []
        growth = store_messages(
            self._connection, self._number, self._speaking, said, self._cap, self._now_ms
        )
        if growth is not None:
            self._sizes[self._speaking] = growth.size

    def _put_step(self, item: Stepped) -> None:
        self._step += 1
        if self._run is not None:
            runs.put_step(self._connection, self._number, self._run, self._step, item.values)

    def _gather(
        self, rows: list[dict[str, Any]], row: dict[str, Any], put: Callable[[], None]
    ) -> None:
        if self._made:
            rows.append(row)
            if len(rows) >= AT_ONCE:
                put()

    def _put_requests(self) -> None:
        usage.put_requests(self._connection, self._number, self._next_request, self._requests)
        self._next_request += len(self._requests)
        self._requests.clear()

    def _put_usage(self) -> None:
        usage.put_usage(self._connection, self._number, self._usage)
        self._usage.clear()

    def _end(self) -> None:
        self._put_messages()
        for name in self._sizes:
            sessions.put_times(self._connection, self._number, name, *self._times[name])
        if self._made and self._begun.tenant is not None:
            values = _tenant_values(self._begun.tenant, self._now_ms)
            counters.put(self._connection, self._number, values)
            self._put_requests()
            self._put_usage()


def _at_rest(run: dict[str, Any]) -> dict[str, Any]:
    """A run that was under way must not be gone on with by itself here: it may go on there."""
    if run["status"] != "running":
        return run
    return {**run, "status": "failed", "code": "interrupted", "error": UNDER_WAY}


def _summary(given: RunningSummary) -> Summary:
    return Summary(given.text, given.through, ms(given.made_at))


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


def _note(begun: Begun, *, known: bool, left_out: int, cap: int) -> str:
    sentences = []
    if known and begun.tenant is not None:
        sentences.append(
            "The tenant was known already, so its limits, block, times, requests and usage stay"
            " as they were."
        )
    elif begun.version == 1:
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
    if not begun.conversations:
        sentences.append("The export was made without conversations.")
    return " ".join(sentences)
