"""Recording: a tenant's counters, its requests and the sums agree with what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from webapp.chat import budget
from webapp.periods import DAY_MS, day_number, iso_utc, month_number, month_span
from webapp.storage import Connection, Database
from webapp.tenant_data.forgetting import forget_part
from webapp.tenant_data.storing import store_request
from webapp.tenants import store
from webapp.tenants.rows import TenantRow
from webapp.usage.records import RequestRecord


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def request(at_ms: int, status: int = 200, latency: int = 100, tokens: int = 3) -> RequestRecord:
    code = {200: "", 429: "rate_limited"}.get(status, "model_error")
    given, taken = (tokens - 1, 1) if tokens else (0, 0)
    return RequestRecord(at_ms, "chat", status, latency, "req", code, None, given, taken)


def recorded(database: Database, records: Sequence[RequestRecord]) -> TenantRow:
    def work(connection: Connection) -> TenantRow | None:
        number = store.ensure(connection, "alice", records[0].at_ms)
        for one in records:
            assert store_request(connection, number, one)
        return store.find(connection, "alice")

    row = database.write(work)
    assert row is not None
    return row


NOON = at("2026-11-23T12:00:00")


def test_the_counters_tell_what_happened(database: Database) -> None:
    row = recorded(
        database,
        [request(NOON), request(NOON + 5, 502, tokens=0), request(NOON + 2, 429, tokens=0)],
    )
    assert (row.request_count, row.error_count, row.rate_limited_count) == (3, 1, 1)
    assert (row.input_tokens, row.output_tokens, row.total_tokens) == (2, 1, 3)
    assert row.last_active_at == NOON + 5


def test_what_was_refused_has_no_latency(database: Database) -> None:
    row = recorded(database, [request(NOON, 429, 1), request(NOON, 403, 1), request(NOON, 503, 1)])
    assert row.p95_ms == 0
    row = recorded(database, [request(NOON, 200, 1000), request(NOON, 429, 1)])
    assert row.p95_ms == pytest.approx(1000, rel=0.05)


def test_a_failure_has_a_latency(database: Database) -> None:
    assert recorded(database, [request(NOON, 504, 60_000)]).p95_ms == pytest.approx(
        60_000, rel=0.05
    )


def test_nothing_is_recorded_for_a_tenant_that_is_gone(database: Database) -> None:
    def work(connection: Connection) -> bool:
        number = store.ensure(connection, "alice", NOON)
        forget_part(connection, number)
        return store_request(connection, number, request(NOON))

    assert database.write(work) is False
    with database.read() as connection:
        for table in ("requests", "usage", "tenants"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}", {}).fetchone() == (0,)


@pytest.mark.parametrize(
    ("times", "day", "month"),
    [
        (["2026-11-23T00:00:00", "2026-11-23T23:59:59"], 6, 6),
        (["2026-11-23T23:59:59", "2026-11-24T00:00:00"], 3, 6),
        (["2026-11-30T23:59:59", "2026-12-01T00:00:00"], 3, 3),
        (["2026-12-31T23:59:59", "2027-01-01T00:00:00"], 3, 3),
        # Stored in the other order: each counts in its own day, and resets nothing.
        (["2026-11-24T00:00:00", "2026-11-23T23:59:59"], 3, 6),
        (["2027-01-01T00:00:00", "2026-12-31T23:59:59"], 3, 3),
        # A clock that was far ahead and was put right.
        (["2099-01-01T00:00:00", "2026-11-23T12:00:00"], 3, 3),
    ],
)
def test_budgets_are_counted_by_the_day_and_month_of_utc(
    database: Database, times: list[str], day: int, month: int
) -> None:
    records = [request(at(text)) for text in times]
    recorded(database, records)
    now = max(at(text) for text in times if not text.startswith("2099"))
    assert used(database, now) == (day, month)
    assert used(database, now + DAY_MS)[0] == 0


def used(database: Database, now: int) -> tuple[int, int]:
    """What the largest budgets still refuse: the tokens of the day and of the month."""
    with database.read() as connection:
        standing = store.standing(connection, "alice")
        assert standing is not None
        return budget._of_day(connection, standing, now), budget._of_month(
            connection, standing, now
        )


@pytest.mark.parametrize("jump", [DAY_MS, 40 * DAY_MS, 400 * DAY_MS, -DAY_MS, -40 * DAY_MS])
def test_a_clock_that_jumps_and_is_put_right_frees_and_uses_up_nothing(
    database: Database, jump: int
) -> None:
    noon = at("2026-11-23T12:00:00")
    recorded(database, [request(noon), request(noon + jump), request(noon + jump)])
    assert used(database, noon)[0] == 3
    recorded(database, [request(noon)])
    assert used(database, noon)[0] == 6
    assert used(database, noon + jump)[0] == 6
    recorded(database, [request(noon + 1000)])
    assert used(database, noon)[0] == 9


def test_the_calendar_is_that_of_utc() -> None:
    assert day_number(at("2026-11-23T23:59:59")) == 20261123
    assert month_number(at("2024-02-29T00:00:00")) == 202402
    assert month_span(at("2026-12-31T23:59:59")) == (
        at("2026-12-01T00:00:00"),
        at("2027-01-01T00:00:00"),
    )
    assert iso_utc(at("2026-11-23T21:00:00") + 7) == "2026-11-23T21:00:00.007Z"
