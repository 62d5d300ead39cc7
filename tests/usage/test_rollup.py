"""The roll-up: each fact is in the sums once, and no figure waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import HandClock
from webapp.errors import StorageUnavailable
from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.forgetting import forget_part
from webapp.tenant_data.storing import store_refusals, store_request
from webapp.tenants import store as tenants
from webapp.usage import store as facts
from webapp.usage.figures import EVERYONE
from webapp.usage.histogram import LAST_BUCKET, bucket_of, value_of
from webapp.usage.lifetime import lifetime
from webapp.usage.ranking.store import SORTS, per_tenant
from webapp.usage.records import Refusal, RequestRecord
from webapp.usage.retention import prune
from webapp.usage.rollup import store
from webapp.usage.rollup import worker as rollup
from webapp.usage.rollup.worker import RollUp, roll_up
from webapp.usage.summary import summary
from webapp.usage.sums.store import all_of, tokens_between
from webapp.usage.windows import WINDOWS

NOW = 1_795_471_966_062
TENANTS = (1, 2, 3)
SUMS = "SELECT * FROM usage ORDER BY tenant_id, period, at, measure, code, bucket"

moments = st.one_of(
    st.integers(-2 * HOUR_MS, 0),
    st.integers(-40 * DAY_MS, 0),
    st.integers(0, 400 * DAY_MS),  # the clock was ahead, and was put right
).map(lambda age: NOW + age)
requests = st.builds(
    RequestRecord,
    at_ms=moments,
    route=st.just("chat"),
    status=st.sampled_from([200, 200, 429, 403, 499, 502, 503]),
    latency_ms=st.integers(0, 4_000_000),
    request_id=st.just("req"),
    code=st.sampled_from(["", "x"]),
    first_token_ms=st.none() | st.integers(0, 900),
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
)
refusals = st.builds(
    lambda at_ms, code, limited: Refusal(at_ms - at_ms % MINUTE_MS, code, limited),
    moments,
    st.sampled_from(["rate_limited", "tenant_blocked"]),
    st.booleans(),
)
happened = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.one_of(requests, refusals, st.just(None))), max_size=40
)


@pytest.fixture
def house(database: Database) -> Database:
    database.write(lambda c: [tenants.ensure(c, f"user-{number}", NOW) for number in TENANTS])
    return database


def happen(connection: Connection, tenant: int, one: RequestRecord | Refusal) -> None:
    if isinstance(one, RequestRecord):
        # A success that used tokens is a turn, and counted as one.
        is_turn = not one.code and one.total_tokens > 0
        store_request(
            connection, tenant, one, turn=turns_of(connection, tenant) if is_turn else None
        )
    else:
        store_refusals(connection, tenant, one, 3)
        facts.count_refusals(connection, EVERYONE, one, 3)


def turns_of(connection: Connection, tenant: int) -> int:
    found = connection.execute("SELECT turn FROM tenants WHERE id = :id", {"id": tenant})
    return int(found.fetchone()[0])


def record(number: int = 1, **values: Any) -> Callable[[Connection], None]:
    """Stores so many successes of the first tenant, a second apart."""

    def work(connection: Connection) -> None:
        for index in range(number):
            one = RequestRecord(NOW + index * 1000, "chat", 200, 40, "req", **values)
            store_request(connection, 1, one)

    return work


def figures(database: Database) -> list[object]:
    """Every figure that is shown anywhere."""
    with database.read() as connection:
        return [
            lifetime(connection),
            compare(database, NOW),
            *(
                summary(connection, tenant, window, NOW)
                for tenant in (EVERYONE, *TENANTS)
                for window in WINDOWS.values()
            ),
            *(all_of(connection, tenant) for tenant in TENANTS),
            *(
                tokens_between(connection, tenant, NOW - NOW % DAY_MS, NOW + DAY_MS)
                for tenant in TENANTS
            ),
            *(
                [
                    (row.number, row.totals)
                    for row in per_tenant(connection, window, NOW, sort=f"-{sort}").rows
                ]
                for window in WINDOWS.values()
                for sort in SORTS
            ),
        ]


def sums(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return connection.execute(SUMS, {}).fetchall()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Database:
    opened = open_database(f"sqlite:///{tmp_path_factory.mktemp('rollup') / 'switchboard.db'}")
    opened.upgrade()
    return opened


@settings(max_examples=30, deadline=None)
@given(happened)
def test_no_figure_depends_on_what_is_rolled_up(
    shared: Database, events: list[tuple[int, RequestRecord | Refusal | None]]
) -> None:
    """None among the events is a step of the roll-up."""

    def work(connection: Connection) -> None:
        for table in ("requests", "refusals", "usage", "tenants"):
            connection.execute(f"DELETE FROM {table}", {})
        for number in TENANTS:
            connection.execute(
                "INSERT INTO tenants (id, user_id, created_at, last_active_at)"
                " VALUES (:id, :user, 0, 0)",
                {"id": number, "user": f"user-{number}"},
            )
        for tenant, one in events:
            if one is None:
                store.step(connection, most=2)
            else:
                happen(connection, tenant, one)

    shared.write(work)
    before = figures(shared)
    assert before[1].count == 0  # type: ignore[attr-defined]  # the comparison
    while shared.write(lambda connection: store.step(connection, most=3)):
        assert figures(shared) == before
    assert figures(shared) == before
    with shared.read() as connection:
        assert not store.is_anything_pending(connection)


def test_the_sums_are_those_of_the_requests(house: Database) -> None:
    house.write(record(3, input_tokens=2, output_tokens=1))
    roll_up(house)
    minute, hour, day = (NOW - NOW % length for length in (MINUTE_MS, HOUR_MS, DAY_MS))
    alike = ("request", "", bucket_of(40), 3, 0, 0, 6, 3)
    assert sums(house) == [
        (0, "day", day, *alike),
        (0, "hour", hour, *alike),
        (0, "minute", minute, *alike),
        (1, "day", day, *alike),
        (1, "hour", hour, *alike),
    ]


def test_two_roll_ups_at_once_count_each_request_once(house: Database) -> None:
    """Two processes, as far as the database can tell."""
    url = house.url
    others = [open_database(url) for _ in range(3)]
    done = threading.Event()

    def turns() -> None:
        for _ in range(30):
            house.write(record(10))
        done.set()

    def rolling(database: Database) -> None:
        while not done.is_set():
            database.write(lambda connection: store.step(connection, most=7))

    threads = [threading.Thread(target=rolling, args=(other,)) for other in others]
    threads.append(threading.Thread(target=turns))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    roll_up(house)
    for other in others:
        other.close()
    with house.read() as connection:
        assert lifetime(connection).turns == {"": 300}
    assert {row[6] for row in sums(house)} == {300}


def test_what_another_one_has_added_meanwhile_is_not_added_again(house: Database) -> None:
    house.write(record(2))

    class Late:
        """A connection whose first statement sees the time before another roll-up."""

        def __init__(self, connection: Connection) -> None:
            self._connection = connection
            self._first = True

        def execute(self, sql: str, parameters: Any = None) -> Any:
            found = self._connection.execute(sql, parameters or {})
            if self._first:
                self._first = False
                row = found.fetchone()
                assert not store.step(self._connection)
                return type("Rows", (), {"fetchone": lambda self: row})()
            return found

        def executemany(self, sql: str, parameters: Any) -> Any:
            return self._connection.executemany(sql, parameters)

    assert house.write(lambda connection: store.step(Late(connection))) in (True, False)
    roll_up(house)
    assert {row[6] for row in sums(house)} == {2}


def test_a_step_that_fails_leaves_all_as_it_was(house: Database) -> None:
    house.write(record(5))
    house.write(lambda c: facts.count_refusals(c, 1, Refusal(NOW, "rate_limited", True), 4))
    before = figures(house)

    def fails(connection: Connection) -> None:
        store.step(connection)
        raise StorageUnavailable("The disk is full.")

    with pytest.raises(StorageUnavailable):
        house.write(fails)
    assert sums(house) == []
    assert figures(house) == before
    roll_up(house)
    assert figures(house) == before


def test_requests_that_are_not_in_the_sums_are_not_pruned(house: Database) -> None:
    house.write(record(20))
    later = NOW + 100 * DAY_MS
    assert house.write(lambda connection: facts.prune(connection, later, 100)) == 0
    assert prune(house, later, DAY_MS / 1000).requests == 20
    with house.read() as connection:
        assert lifetime(connection).turns == {"": 20}


def test_who_is_forgotten_stays_in_the_sums_of_everyone(house: Database) -> None:
    house.write(record(20, input_tokens=1))
    house.write(lambda c: happen(c, 1, Refusal(NOW, "rate_limited", limited=True)))
    with house.read() as connection:
        before = lifetime(connection)

    def forget(connection: Connection) -> bool:
        part = forget_part(connection, 1, most=7)
        return part is not None and part[1]

    while not house.write(forget):
        with house.read() as connection:
            assert lifetime(connection) == before
    with house.read() as connection:
        assert lifetime(connection) == before
        for table in ("requests", "refusals", "usage"):
            own = connection.execute(f"SELECT COUNT(*) FROM {table} WHERE tenant_id = 1", {})
            assert own.fetchone() == (0,)


def test_a_long_list_is_rolled_up_in_short_steps(
    house: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write(record(2 * store.MOST + 1))
    steps, step = [], store.step

    def counted(connection: Connection) -> bool:
        before = connection.execute("SELECT through FROM usage_rollup", {}).fetchone()[0]
        more = step(connection)
        after = connection.execute("SELECT through FROM usage_rollup", {}).fetchone()[0]
        steps.append(after - before)
        return more

    monkeypatch.setattr(store, "step", counted)
    assert roll_up(house)
    assert steps == [store.MOST, store.MOST, 1]


def test_it_runs_after_some_time_after_many_and_at_the_end(house: Database) -> None:
    clock = HandClock()
    house.write(record(1))
    runner = RollUp(house, clock)
    runner.note()
    assert sums(house) == []
    clock.advance(rollup.EVERY_SECONDS)
    runner.note()
    runner.close()
    assert {row[6] for row in sums(house)} == {1}
    house.write(record(1))
    for _ in range(rollup.MANY):
        runner.note()
    runner.close()
    assert {row[6] for row in sums(house)} == {2}
    house.write(record(1))
    runner.note()
    runner.close()
    assert {row[6] for row in sums(house)} == {3}


def test_the_end_does_not_wait_for_a_long_list(
    house: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write(record(3 * store.MOST))
    monkeypatch.setattr(rollup, "LAST_SECONDS", 0.0)
    runner = RollUp(house, HandClock())
    runner.note()
    before = figures(house)
    runner.close()
    with house.read() as connection:
        assert store.is_anything_pending(connection)
    assert figures(house) == before


def test_who_recorded_nothing_writes_nothing_at_the_end(house: Database) -> None:
    house.write(record(1))
    RollUp(house, HandClock()).close()
    assert sums(house) == []


def test_the_table_of_buckets_is_the_histogram(database: Database) -> None:
    edges = {0, 1, *(value_of(bucket) + more for bucket in range(LAST_BUCKET) for more in (0, 1))}
    asked = edges | set(range(2, 5000)) | {10**7, 2**53}
    with database.read() as connection:
        table = connection.execute(
            "SELECT low_ms, bucket FROM latency_buckets ORDER BY low_ms", {}
        ).fetchall()
    for latency in asked:
        found = max(row for row in table if row[0] <= latency)[1]
        assert found == bucket_of(latency), latency
    for low, bucket in table[1:]:
        assert (bucket_of(low), bucket_of(low - 1) < bucket) == (bucket, True)
