"""Windows: evenly spaced steps of UTC, zeros included, and totals equal to what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.errors import InvalidInput
from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.storing import store_request
from webapp.tenants import store
from webapp.usage.figures import EVERYONE, Percentiles, UsageSummary
from webapp.usage.histogram import bucket_of, value_of
from webapp.usage.records import RequestRecord
from webapp.usage.store import latest_requests
from webapp.usage.summary import summary, totals
from webapp.usage.windows import WINDOWS, window_named

NOW = 1_795_471_966_062  # 2026-11-23T22:12:46Z
ALICE, BOB = 1, 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("summary") / "switchboard.db"
    opened = open_database(f"sqlite:///{path}")
    opened.upgrade()
    opened.write(lambda c: [store.ensure(c, name, NOW) for name in ("alice", "bob")])
    yield opened
    opened.close()


def record_all(database: Database, records: list[tuple[int, RequestRecord]]) -> None:
    def work(connection: Connection) -> None:
        for table in ("requests", "usage"):
            connection.execute(f"DELETE FROM {table}", {})
        for tenant, one in sorted(records, key=lambda pair: pair[1].at_ms):
            store_request(connection, tenant, one)

    database.write(work)


def read(database: Database, tenant: int, window: str, now: int = NOW) -> UsageSummary:
    with database.read() as connection:
        return summary(connection, tenant, window_named(window), now)


statuses = {200: "", 429: "tenant_busy", 502: "model_error", 504: "model_timeout", 403: "blocked"}
statuses[503] = "model_unavailable"
records = st.tuples(
    st.sampled_from([ALICE, BOB]),
    st.builds(
        lambda age, status, latency, first, tokens: RequestRecord(
            NOW - age, "chat", status, latency, "req", statuses[status], first, tokens, 1
        ),
        age=st.one_of(
            st.integers(0, 2 * HOUR_MS), st.integers(0, 3 * DAY_MS), st.integers(0, 70 * DAY_MS)
        ),
        status=st.sampled_from(list(statuses)),
        latency=st.integers(1, 90_000),
        first=st.none() | st.integers(1, 900),
        tokens=st.integers(0, 50),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=40), st.sampled_from(list(WINDOWS)))
def test_totals_are_the_sum_of_the_records(
    shared: Database, recorded: list[tuple[int, RequestRecord]], name: str
) -> None:
    record_all(shared, recorded)
    window = window_named(name)
    since = window.since(NOW)
    for tenant in (EVERYONE, ALICE, BOB):
        own = [one for number, one in recorded if tenant in (EVERYONE, number)]
        inside = [one for one in own if one.at_ms >= since]
        found = read(shared, tenant, name)
        total = found.totals
        assert total.requests == len(inside)
        assert total.errors == sum(one.failed for one in inside)
        assert total.rate_limited == sum(one.refused for one in inside)
        assert total.tokens == sum(one.total_tokens for one in inside)
        assert sum(found.errors_by_code.values()) == total.errors
        assert sum(found.refusals_by_code.values()) == total.rate_limited
        for point in found.series:
            step = [one for one in inside if 0 <= one.at_ms - point.at_ms < window.step_ms]
            assert point.totals.requests == len(step)
            assert point.totals.tokens == sum(one.total_tokens for one in step)
        timed = sorted(one.latency_ms for one in inside if one.status in (200, 502, 504))
        if timed:
            middle = timed[(len(timed) + 1) // 2 - 1]
            assert total.latency.p50 == value_of(bucket_of(middle))
        else:
            assert total.latency == Percentiles()
        with shared.read() as connection:
            assert totals(connection, tenant, window, NOW) == total


@pytest.mark.parametrize("name", list(WINDOWS))
@pytest.mark.parametrize("tenant", [EVERYONE, ALICE, 999])
def test_an_empty_window_is_all_zeros_in_even_steps(
    database: Database, name: str, tenant: int
) -> None:
    found = read(database, tenant, name)
    window = window_named(name)
    starts = [point.at_ms for point in found.series]
    assert len(starts) == window.steps
    assert {after - before for before, after in pairwise(starts)} == {window.step_ms}
    assert all(start % window.step_ms == 0 for start in starts)
    assert starts[-1] <= NOW < starts[-1] + window.step_ms
    assert found.totals.requests == 0
    assert found.totals.latency == found.previous.latency == Percentiles()


@pytest.mark.parametrize(
    ("name", "ago"), [("1h", HOUR_MS), ("24h", DAY_MS), ("7d", 7 * DAY_MS), ("30d", 30 * DAY_MS)]
)
def test_the_time_before_is_compared_like_for_like(shared: Database, name: str, ago: int) -> None:
    window = window_named(name)
    since = window.since(NOW)

    def one(at_ms: int) -> tuple[int, RequestRecord]:
        return ALICE, RequestRecord(at_ms, "chat", 200, 50, "req", input_tokens=1, output_tokens=1)

    record_all(
        shared,
        [
            one(since - ago - 1),  # before both
            one(since - ago),  # the first moment of the time before
            one(NOW - ago - MINUTE_MS),
            one(since),
            one(NOW),
        ],
    )
    for tenant in (EVERYONE, ALICE):
        found = read(shared, tenant, name)
        assert found.totals.requests == 2
        assert found.previous.requests == 2
        assert found.previous.latency.p50 == value_of(bucket_of(50))


def test_a_busy_hour_of_one_tenant_is_read_page_by_page(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.usage.summary._PAGE", 7)
    record_all(
        shared,
        [
            (ALICE, RequestRecord(NOW - second * 1000, "chat", 200, 5, "req", input_tokens=1))
            for second in range(0, 7200, 60)
        ],
    )
    assert read(shared, ALICE, "1h").totals.requests == 60


def test_the_kinds_of_failure_come_most_frequent_first(shared: Database) -> None:
    codes = [(502, "model_error")] * 2 + [(504, "model_timeout")] * 3 + [(429, "tenant_busy")]
    record_all(
        shared, [(ALICE, RequestRecord(NOW, "chat", s, 1, "req", code)) for s, code in codes]
    )
    found = read(shared, EVERYONE, "24h")
    assert list(found.errors_by_code.items()) == [("model_timeout", 3), ("model_error", 2)]
    assert found.refusals_by_code == {"tenant_busy": 1}


def test_the_latest_requests_come_newest_first_and_page_on(shared: Database) -> None:
    record_all(
        shared,
        [
            (tenant, RequestRecord(NOW + n, "chat", 200, n, f"req-{n}"))
            for n in range(5)
            for tenant in (ALICE, BOB)
        ],
    )
    with shared.read() as connection:
        first = latest_requests(connection, ALICE, 3)
        rest = latest_requests(connection, ALICE, 3, before=first[-1].id)
    assert [one.request_id for one in first + rest] == [f"req-{n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("name", ["", "1H", "90d", "1h ", "24h;"])
def test_another_window_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="window must be one of 1h, 24h, 7d, 30d"):
        window_named(name)
