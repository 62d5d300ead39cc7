"""Compares the counters in a tenant's row with its requests, sums and messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from webapp.periods import DAY_MS, day_number
from webapp.storage import Connection, meta
from webapp.tenant_data.consistency.counters import store
from webapp.tenant_data.consistency.findings import Mismatch
from webapp.tenants.counters import store as counters
from webapp.usage import histogram

KEPT_ANSWERS = 200
NOTHING = store.Requests(0, 0)


@dataclass(slots=True)
class Recount:
    """What the rows say of one tenant."""

    messages: int = 0
    requests: int = 0
    errors: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    successes: int = 0
    untimed: bool = False
    latencies: Counter[int] = field(default_factory=Counter)
    days: dict[int, int] = field(default_factory=dict)
    months: Counter[int] = field(default_factory=Counter)
    kept: store.Requests = NOTHING

    def add(self, success: int, bucket: int, figures: Sequence[int]) -> None:
        self.requests += figures[0]
        self.errors += figures[1]
        self.refused += figures[2]
        self.input_tokens += figures[3]
        self.output_tokens += figures[4]
        self.successes += figures[0] * success
        if bucket >= 0:
            self.latencies[bucket] += figures[0]
        # A sum by day of an export of version 1: when its requests were how long is not known.
        self.untimed |= bool(success) and bucket < 0

    def add_day(self, at_ms: int, tokens: int) -> None:
        day = day_number(at_ms)
        self.days[day] = tokens
        self.months[day // 100] += tokens


def recounted(
    connection: Connection, which: store.Slice, messages: dict[int, int]
) -> dict[int, Recount]:
    """By tenant, those included that have rows and are not there."""
    found: dict[int, Recount] = {}

    def of(tenant: int) -> Recount:
        return found.setdefault(tenant, Recount())

    for tenant, success, bucket, *figures in store.figures(connection, which):
        of(tenant).add(success, bucket, figures)
    for tenant, at, tokens in store.tokens_by_day(connection, which):
        of(tenant).add_day(at - at % DAY_MS, tokens)
    turns_after = int(meta.value(connection, counters.TURNS_COUNTED_AFTER) or 0)
    for tenant, kept in store.requests(connection, which, turns_after).items():
        of(tenant).kept = kept
    for tenant, number in messages.items():
        of(tenant).messages = number
    return found


def wrong_counters(said: store.Counters, recount: Recount) -> Iterator[Mismatch]:
    """Each counter of the tenant's row that does not say what its rows do."""
    plain = (
        ("message_count", said.message_count, recount.messages),
        ("request_count", said.request_count, recount.requests),
        ("error_count", said.error_count, recount.errors),
        ("rate_limited_count (refused_count)", said.refused_count, recount.refused),
        ("input_tokens", said.input_tokens, recount.input_tokens),
        ("output_tokens", said.output_tokens, recount.output_tokens),
        ("total_tokens", said.total_tokens, recount.input_tokens + recount.output_tokens),
        ("day_tokens", said.day_tokens, recount.days.get(said.budget_day, 0)),
        ("month_tokens", said.month_tokens, recount.months.get(said.budget_month, 0)),
    )
    for name, says, counted in plain:
        if says != counted:
            yield Mismatch(said.number, name, says, counted)
    if said.budget_day != 0 and said.budget_month != _month_of(said.budget_day):
        yield Mismatch(
            said.number, "budget_month", said.budget_month, f"the month of day {said.budget_day}"
        )
    yield from _wrong_turn(said, recount)
    yield from _wrong_latencies(said, recount)


def kept_answers(connection: Connection, after: tuple[int, str]) -> tuple[list[Mismatch], Any]:
    """Answers kept for idempotency keys that cannot be given again, some after that place; and the
    next place, None behind the last."""
    page = store.kept_answers(connection, after, KEPT_ANSWERS)
    wrong = [
        Mismatch(tenant, f"the answer kept for the key {key[:12]}…", "something", "no such answer")
        for tenant, key, answer, in_time in page
        if not (in_time and _is_answer(answer))
    ]
    return wrong, (page[-1][0], page[-1][1]) if len(page) == KEPT_ANSWERS else None


def _month_of(day: Any) -> Any:
    return day // 100 if isinstance(day, int) else None


def _wrong_turn(said: store.Counters, recount: Recount) -> Iterator[Mismatch]:
    """Every turn is a success that used tokens. A success whose request is not kept any more may
    have been one or not."""
    least, most = recount.kept.turns, recount.successes - recount.kept.no_turns
    if not isinstance(said.turn, int) or not least <= said.turn <= most:
        counted = str(least) if least == most else f"from {least} to {most}"
        yield Mismatch(said.number, "turn", said.turn, counted)


def _wrong_latencies(said: store.Counters, recount: Recount) -> Iterator[Mismatch]:
    try:
        counts = {
            int(bucket): count for bucket, count in json.loads(said.latency_histogram).items()
        }
        p95 = histogram.percentile(counts, 0.95) or 0
        number = sum(counts.values())
    except (ValueError, TypeError, AttributeError):
        yield Mismatch(said.number, "latency_histogram", said.latency_histogram, "no such text")
        return
    if said.p95_ms != p95:
        yield Mismatch(said.number, "p95_ms", said.p95_ms, p95)
    if recount.untimed:
        return
    timed = recount.latencies.total()
    # Up to so many it holds all latencies; beyond, the newest ones weigh most.
    if timed <= histogram.REMEMBERED:
        if counts != recount.latencies:
            yield Mismatch(
                said.number, "latency_histogram", said.latency_histogram, _text(recount.latencies)
            )
    elif number > histogram.REMEMBERED or any(
        not 0 < count <= recount.latencies[bucket] for bucket, count in counts.items()
    ):
        yield Mismatch(
            said.number, "latency_histogram", said.latency_histogram, f"{timed} other latencies"
        )


def _text(counts: Counter[int]) -> str:
    return json.dumps({str(bucket): counts[bucket] for bucket in sorted(counts)})


def _is_answer(text: Any) -> bool:
    try:
        answer = json.loads(text)
        return all(isinstance(answer[name], str) for name in ("reply", "request_id")) and all(
            isinstance(answer[name], int) for name in ("input_tokens", "output_tokens")
        )
    except (ValueError, TypeError, KeyError):
        return False
