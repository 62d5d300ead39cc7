"""Rankings: every tenant of the window once, in order, with the figures of its own page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.errors import InvalidInput
from webapp.periods import DAY_MS, HOUR_MS
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.storing import store_request
from webapp.tenants import store
from webapp.usage.figures import Totals
from webapp.usage.ranking.store import SORTS, RankedTenant, per_tenant, top_tenants
from webapp.usage.records import RequestRecord
from webapp.usage.store import first_since
from webapp.usage.summary import totals
from webapp.usage.windows import WINDOWS, window_named

NOW = 1_795_471_966_062
TENANTS = 6


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("ranking") / "switchboard.db"
    opened = open_database(f"sqlite:///{path}")
    opened.upgrade()
    opened.write(lambda c: [store.ensure(c, f"user-{n}", NOW) for n in range(1, TENANTS + 1)])
    yield opened
    opened.close()


def record_all(database: Database, records: list[tuple[int, RequestRecord]]) -> None:
    def work(connection: Connection) -> None:
        for table in ("requests", "usage"):
            connection.execute(f"DELETE FROM {table}", {})
        for tenant, one in sorted(records, key=lambda pair: pair[1].at_ms):
            store_request(connection, tenant, one)

    database.write(work)


records = st.tuples(
    st.integers(1, TENANTS),
    st.builds(
        lambda age, status, latency, first, tokens: RequestRecord(
            NOW - age, "chat", status, latency, "req", "x", first, tokens, 1
        ),
        age=st.one_of(st.integers(0, 2 * HOUR_MS), st.integers(0, 40 * DAY_MS)),
        status=st.sampled_from([200, 200, 429, 502]),
        latency=st.integers(1, 9000),
        first=st.none() | st.integers(1, 900),
        tokens=st.integers(0, 5),
    ),
)


def value(figures: Totals, column: str) -> int:
    if column == "first_token":
        return figures.first_token.p50 or 0
    if column.startswith("p"):
        return getattr(figures.latency, column) or 0
    return int(getattr(figures, column))


@settings(max_examples=40, deadline=None)
@given(
    recorded=st.lists(records, max_size=30),
    name=st.sampled_from(list(WINDOWS)),
    column=st.sampled_from(SORTS),
    sign=st.sampled_from(["", "-"]),
    limit=st.integers(1, 4),
)
def test_every_tenant_of_the_window_comes_once_and_in_order(
    shared: Database,
    recorded: list[tuple[int, RequestRecord]],
    name: str,
    column: str,
    sign: str,
    limit: int,
) -> None:
    record_all(shared, recorded)
    window = window_named(name)
    found: list[RankedTenant] = []
    place = None
    with shared.read() as connection:
        while True:
            page = per_tenant(connection, window, NOW, sort=sign + column, limit=limit, after=place)
            found += page.rows
            place = page.following
            if place is None:
                break
        expected = {n: totals(connection, n, window, NOW) for n in range(1, TENANTS + 1)}
    assert {row.number: row.totals for row in found} == {
        number: figures for number, figures in expected.items() if figures.requests
    }
    assert len(found) == len({row.number for row in found})
    assert all(row.user_id == f"user-{row.number}" for row in found)
    ranked = [value(row.totals, column) for row in found]
    assert ranked == sorted(ranked, reverse=sign == "-")


def test_the_top_leaves_out_who_has_none(shared: Database) -> None:
    record_all(
        shared,
        [
            (1, RequestRecord(NOW, "chat", 200, 1, "req")),
            (2, RequestRecord(NOW, "chat", 502, 1, "req", "model_error")),
            (2, RequestRecord(NOW, "chat", 200, 1, "req")),
        ],
    )
    for window in WINDOWS.values():
        with shared.read() as connection:
            busiest = top_tenants(connection, window, NOW)
            failing = top_tenants(connection, window, NOW, by="errors")
        assert [row.number for row in busiest] == [2, 1]
        assert [row.number for row in failing] == [2]


@pytest.mark.parametrize("sort", ["", "user_id", "requests; DROP TABLE usage", "--requests"])
def test_only_known_sorts_are_taken(shared: Database, sort: str) -> None:
    with shared.read() as connection, pytest.raises(InvalidInput):
        per_tenant(connection, window_named("24h"), NOW, sort=sort)


@given(ages=st.lists(st.integers(0, 50), max_size=12), since=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_the_first_request_since_is_found_by_halving(
    shared: Database, ages: list[int], since: int
) -> None:
    times = sorted(ages)
    record_all(shared, [(1, RequestRecord(at, "chat", 200, 1, "req")) for at in times])
    with shared.read() as connection:
        first = first_since(connection, since)
        found = connection.execute(
            "SELECT at FROM requests WHERE id >= :first ORDER BY id", {"first": first}
        ).fetchall()
    assert [row[0] for row in found] == [at for at in times if at >= since]
