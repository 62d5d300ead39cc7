"""A database of the version before the roll-up: its sums stay, and what comes is added to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlite_utils

from tests.server.stored import require_whole
from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import open_database
from webapp.storage.sqlite.migrations import migrations
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.storing import store_request
from webapp.usage.figures import EVERYONE
from webapp.usage.histogram import bucket_of, value_of
from webapp.usage.lifetime import lifetime
from webapp.usage.records import RequestRecord
from webapp.usage.rollup import store
from webapp.usage.rollup.worker import roll_up
from webapp.usage.summary import totals
from webapp.usage.windows import WINDOWS

NOW = 1_795_471_966_062
REQUESTS = 7


def fill(path: Path) -> None:
    """Seven requests of a tenant, and the sums with one more, of a forgotten tenant."""
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.apply(sqlite_utils.Database(connection), stop_before="m014_usage_rollup")
    connection.execute(
        "INSERT INTO tenants (id, user_id, created_at, last_active_at, request_count, input_tokens,"
        " total_tokens, latency_histogram, p95_ms) VALUES (1, 'alice', 0, 0, ?, ?, ?, ?, ?)",
        (*[REQUESTS] * 3, f'{{"{bucket_of(40)}": {REQUESTS}}}', value_of(bucket_of(40))),
    )
    for number in range(2, 2 + REQUESTS):
        connection.execute(
            "INSERT INTO requests (id, tenant_id, at, route, status, latency_ms, input_tokens,"
            " request_id) VALUES (?, ?, ?, 'chat', 200, 40, 1, 'req')",
            (number, 1, NOW),
        )
    for tenant, number in ((EVERYONE, REQUESTS + 1), (1, REQUESTS)):
        for period, length in (("minute", MINUTE_MS), ("hour", HOUR_MS), ("day", DAY_MS)):
            if tenant == EVERYONE or period != "minute":
                connection.execute(
                    "INSERT INTO usage VALUES (?, ?, ?, 'request', '', ?, ?, 0, 0, ?, 0)",
                    (tenant, period, NOW - NOW % length, bucket_of(40), number, number),
                )
    connection.close()


def test_the_sums_of_before_stay_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "switchboard.db"
    fill(path)
    database = open_database(f"sqlite:///{path}")
    assert database.upgrade()[0] == "m014_usage_rollup"

    def requests() -> tuple[int, ...]:
        assert compare(database, NOW).count == 0
        with database.read() as connection:
            windows = [
                totals(connection, tenant, window, NOW).requests
                for tenant in (EVERYONE, 1)
                for window in WINDOWS.values()
            ]
            return lifetime(connection).turns[""], *windows

    before = requests()
    assert before == (REQUESTS + 1, *[REQUESTS + 1] * 4, *[REQUESTS] * 4)
    with database.read() as connection:
        assert not store.is_anything_pending(connection)
    database.write(
        lambda connection: store_request(
            connection, 1, RequestRecord(NOW, "chat", 200, 40, "req", input_tokens=1), turn=0
        )
    )
    after = requests()
    assert after == tuple(number + 1 for number in before)
    roll_up(database)
    assert requests() == after
    database.close()


def test_an_empty_database_of_before_begins_at_nothing(tmp_path: Path) -> None:
    path = tmp_path / "switchboard.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.apply(sqlite_utils.Database(connection), stop_before="m014_usage_rollup")
    connection.close()
    database = open_database(f"sqlite:///{path}")
    database.upgrade()
    with database.read() as reader:
        assert reader.execute("SELECT one, through FROM usage_rollup", {}).fetchall() == [(1, 0)]
    database.close()
    require_whole(path)
