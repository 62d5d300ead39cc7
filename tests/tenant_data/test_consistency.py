"""`compare`: each counter and each sum that is falsified by hand is found, and nothing else."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, HandClock
from webapp import create_app
from webapp.errors import ModelError
from webapp.storage import open_database
from webapp.tenant_data.consistency.comparison import TENANTS, compare
from webapp.tenant_data.consistency.findings import Findings, described
from webapp.tenants.restrictions.change import TenantChange
from webapp.usage.figures import EVERYONE
from webapp.usage.retention import prune
from webapp.usage.rollup.worker import roll_up

NOW = 1_795_471_966_062
DAY = 86_400.0
COUNTERS = (
    *("message_count", "request_count", "error_count", "refused_count"),
    *("input_tokens", "output_tokens", "total_tokens", "p95_ms"),
    *("budget_day", "day_tokens", "budget_month", "month_tokens", "turn"),
)
FIGURES = ("requests", "errors", "rate_limited", "input_tokens", "output_tokens")
FACTS = ("status", "code", "latency_ms", "first_token_ms", "input_tokens", "output_tokens", "at")


def talk(app: Flask, user: str, message: str, key: str = "", **more: Any) -> int:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"user_id": user, "message": message, **more}
    answer = app.test_client().post("/chat", json=body, headers=headers)
    answer.get_data()  # a stream is read to its end
    return answer.status_code


def live(app: Flask, clock: HandClock) -> None:
    """Days of every kind of request, of tenants that come, go, and come back."""
    services = services_of(app)
    for day in range(3):
        for user in ("alice", "bob", "carol"):
            for turn in range(3):
                assert talk(app, user, f"{day} {turn}", f"{day}{turn}") == 200
                clock.advance(700)
            assert talk(app, user, "0 0", "00") == 200
            assert talk(app, user, "streamed", stream=True, session_id="other") == 200
            assert talk(app, user, "fail") == 502
        assert talk(app, "dave", "gone soon") == 200
        services.acts.forget("dave")
        prune(services.database, clock.now_ms(), 30 * DAY)
        clock.advance(DAY / 2)
    with services.database.read() as connection:
        (blocked,) = connection.execute("SELECT id FROM tenants WHERE user_id = 'bob'").fetchone()
    services.database.write(
        lambda connection: connection.execute(
            "UPDATE tenants SET blocked_at = 1 WHERE id = :id", {"id": blocked}
        )
    )
    for _ in range(3):
        assert talk(app, "bob", "refused") == 403
    services.directory.update("alice", TenantChange(rate_limit="1/day"))
    assert [talk(app, "alice", "limited") for _ in range(3)] == [200, 429, 429]
    services.directory.update("alice", TenantChange(rate_limit=None))
    services.acts.import_("erin", list(services.acts.export("alice")))
    assert talk(app, "erin", "hello again") == 200
    services.acts.clear("carol")
    assert talk(app, "carol", "after the clear", "kept") == 200
    services.chat.settle()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has lived; the newest requests are not in the sums yet."""
    folder = tmp_path_factory.mktemp("lived")
    clock = HandClock(NOW)

    def answer(request: Any) -> str:
        clock.advance(0.25)
        if request.messages[-1].content == "fail":
            raise ModelError("The model failed.")
        return "an answer"

    app = create_app(
        settings_for(folder, MEMORY_MAX_MESSAGES="10"),
        model=FakeModel(otherwise=answer),
        clock=clock,
    )
    services_of(app).upgrade_database()
    live(app, clock)
    roll_up(services_of(app).database)
    for user in ("alice", "carol"):
        assert talk(app, user, "pending") == 200
    services_of(app).database.back_up(folder / "lived.db")
    services_of(app).close()
    return folder / "lived.db"


@pytest.fixture
def path(lived: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "switchboard.db"
    shutil.copy(lived, copy)
    return copy


def compared(path: Path) -> Findings:
    database = open_database(f"sqlite:///{path}")
    try:
        return compare(database, NOW + 3 * 86_400_000)
    finally:
        database.close()


def test_nothing_is_found_in_a_database_that_has_lived(path: Path) -> None:
    found = compared(path)
    assert found.first == []
    assert found.tenants == 4


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def falsify(path: Path, sql: str, *values: object) -> None:
    """By another program, to which our foreign keys and triggers mean nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(sql, values).rowcount != 0, sql


def undone(path: Path, lived: Path) -> None:
    shutil.copy(lived, path)


def sentences(found: Findings) -> list[str]:
    return [described(one, {1: "alice"}.get) for one in found.first]


def number_of(path: Path, user: str) -> int:
    ((number,),) = rows(path, f"SELECT id FROM tenants WHERE user_id = '{user}'")
    return int(number)


@pytest.mark.parametrize("column", COUNTERS)
@pytest.mark.parametrize("change", ["{} + 1", "{} - 1", "0", "'x'"])
def test_a_falsified_counter_of_a_tenant_is_named(path: Path, column: str, change: str) -> None:
    alice = number_of(path, "alice")
    changed = change.format(column)
    falsify(path, f"UPDATE tenants SET {column} = {changed} WHERE id = {alice}")
    found = compared(path)
    assert {one.tenant for one in found.first} == {alice}
    assert any(column in one.counter for one in found.first) or column.startswith("budget_")
    assert found.count


@pytest.mark.parametrize("text", ["{}", '{"3": 4}', "no JSON", "[1]", '{"x": "y"}'])
def test_falsified_latencies_of_a_tenant_are_found(path: Path, text: str) -> None:
    alice = number_of(path, "alice")
    falsify(path, f"UPDATE tenants SET latency_histogram = ? WHERE id = {alice}", text)
    assert any("latency_histogram" in sentence for sentence in sentences(compared(path)))


@pytest.mark.parametrize("column", ["message_count", "last_seq"])
@pytest.mark.parametrize("change", ["{} + 1", "{} - 1", "'x'"])
def test_a_falsified_counter_of_a_session_is_found(path: Path, column: str, change: str) -> None:
    (first, *_) = rows(path, "SELECT id, tenant_id FROM sessions ORDER BY id")
    falsify(path, f"UPDATE sessions SET {column} = {change.format(column)} WHERE id = {first[0]}")
    (found,) = compared(path).first
    assert (found.session, found.tenant, found.counter) == (*first, column)


@pytest.mark.parametrize("figure", FIGURES)
def test_each_falsified_sum_is_found(lived: Path, path: Path, figure: str) -> None:
    keys = rows(path, "SELECT tenant_id, period, at, measure, code, bucket FROM usage")
    kinds = {(*key[:2], *key[3:]): key for key in keys}  # one of each, whatever its time
    assert {key[1] for key in keys if key[0] == EVERYONE} == {"minute", "hour", "day"}
    last_minutes = [key for key in keys if key[1] == "minute" and key[2] >= NOW + 60 * 3_600_000]
    for key in [key for key in kinds.values() if key[1] != "minute"] + last_minutes[:3]:
        falsify(
            path,
            f"UPDATE usage SET {figure} = {figure} + 1 WHERE tenant_id = ? AND period = ?"
            " AND at = ? AND measure = ? AND code = ? AND bucket = ?",
            *key,
        )
        found = compared(path)
        assert key[0] in {one.tenant for one in found.first}, key
        undone(path, lived)


@pytest.mark.parametrize("column", ["period", "at", "measure", "code", "bucket", "tenant_id"])
def test_a_sum_that_is_moved_elsewhere_is_found(lived: Path, path: Path, column: str) -> None:
    to = {"period": "'hours'", "at": "at + 3600000", "measure": "'x'", "code": "'x'"}
    for period in ("hour", "day"):
        falsify(
            path,
            f"UPDATE usage SET {column} = {to.get(column, f'{column} + 70')} WHERE"
            f" (tenant_id, period, at, measure, code, bucket) = (SELECT tenant_id, period, at,"
            f" measure, code, bucket FROM usage WHERE tenant_id = 1 AND period = '{period}'"
            " ORDER BY requests DESC LIMIT 1)",
        )
        assert compared(path).count, period
        undone(path, lived)


@pytest.mark.parametrize("column", FACTS)
def test_a_falsified_request_is_found(lived: Path, path: Path, column: str) -> None:
    to = {"status": "503", "code": "'x'", "latency_ms": "9999", "at": "at + 3600000"}
    requests = rows(path, "SELECT id, tenant_id FROM requests WHERE id > 0 AND tenant_id = 1")
    for number, tenant in (requests[0], requests[-1]):
        change = to.get(column, f"COALESCE({column}, 0) + 900")
        falsify(path, f"UPDATE requests SET {column} = {change} WHERE id = {number}")
        found = compared(path)
        # The latest request is not in the sums yet, and its time to the first token in nothing.
        if (number, tenant) == requests[0] or column not in ("first_token_ms", "at"):
            assert tenant in {one.tenant for one in found.first}, number
        undone(path, lived)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE usage_rollup SET through = through + 1", "request_count"),
        ("UPDATE usage_rollup SET through = 9999", "usage_rollup.through"),
        ("UPDATE usage_rollup SET through = through - 2", "request_count"),
        ("DELETE FROM usage_rollup", "usage_rollup.through"),
        ("UPDATE refusals SET number = number + 1 WHERE tenant_id > 0", "request_count"),
        ("UPDATE refusals SET limited = 7", "refusals"),
        ("UPDATE refusals SET tenant_id = 999 WHERE tenant_id > 0", "no tenant"),
        ("UPDATE latency_buckets SET low_ms = 5000 WHERE bucket = 20", "latency_buckets"),
        ("DELETE FROM latency_buckets WHERE bucket = 20", "latency_buckets"),
        ("DELETE FROM messages WHERE seq = 3", "message_count"),
        ("UPDATE messages SET session = 999 WHERE session = 1", "message_count"),
        ("UPDATE sessions SET tenant_id = 999 WHERE id = 1", "no tenant"),
        ("DELETE FROM requests WHERE id = 2", "requests that are kept"),
        ("UPDATE requests SET tenant_id = 999 WHERE id = 2", "no tenant"),
        ("DELETE FROM usage WHERE tenant_id = 1 AND period = 'day'", "request_count"),
        ("DELETE FROM usage WHERE tenant_id = 0 AND period = 'day'", "usage by day"),
        ("DELETE FROM usage WHERE tenant_id = 0", "usage by day"),
        ("DELETE FROM tenants WHERE id = 1", "no tenant"),
        ("UPDATE idempotency SET answer = '{}'", "the answer kept for"),
        ("UPDATE idempotency SET answer = 'x'", "the answer kept for"),
        ("UPDATE idempotency SET created_at = created_at + 999999999", "the answer kept for"),
        ("UPDATE idempotency SET tenant_id = 999 WHERE tenant_id = 1", "the answer kept for"),
    ],
)
def test_other_falsifications_are_found(path: Path, change: str, words: str) -> None:
    if "refusals" in change:
        values = "(99, 1, 0, 'tenant_blocked', 0, 3), (100, 0, 0, 'tenant_blocked', 0, 3)"
        falsify(path, f"INSERT INTO refusals VALUES {values}")
        falsify(path, "UPDATE tenants SET request_count = request_count + 3 WHERE id = 1")
        assert compared(path).first == []
    falsify(path, change)
    found = " ".join(sentences(compared(path)))
    assert words in found
    assert "other" not in {one.counter for one in compared(path).first}


def test_a_search_index_that_is_out_of_step_is_found(lived: Path, path: Path) -> None:
    for change in (
        "INSERT INTO tenant_search (tenant_search, rowid, user_id) VALUES ('delete', 1, 'alice')",
        "INSERT INTO tenant_search (rowid, user_id) VALUES (77, 'nobody')",
        "DELETE FROM tenant_search_docsize WHERE id = 1",
    ):
        falsify(path, change)
        assert any("search" in one.counter for one in compared(path).first), change
        undone(path, lived)
    falsify(path, "DROP TRIGGER tenant_search_update")
    falsify(path, "UPDATE tenants SET user_id = 'malice' WHERE id = 1")
    assert [one.tenant for one in compared(path).first] == [1]


def test_words_of_users_are_not_shown(path: Path) -> None:
    falsify(path, "UPDATE sessions SET message_count = 99")
    found = compared(path)
    assert found.count == len(rows(path, "SELECT 1 FROM sessions"))
    assert "other" not in " ".join(sentences(found))
    assert sentences(found)[0].startswith("tenant 1, alice, session ")


def test_a_database_in_use_raises_no_false_alarm(path: Path) -> None:
    """Turns, refusals, clears and roll-ups go on while it compares, again and again."""
    app = create_app(
        settings_for(path.parent, MEMORY_MAX_MESSAGES="10", TENANT_QUEUE="0"),
        model=FakeModel(otherwise="an answer"),
    )
    services = services_of(app)
    over = threading.Event()

    def work(index: int) -> None:
        turn = 0
        while not over.is_set():
            talk(app, f"user-{(index + turn) % 5}", str(turn), f"{index} {turn}")
            if turn % 7 == index:
                services.acts.clear(f"user-{turn % 5}")
            if turn % 11 == index:
                roll_up(services.database)
            turn += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert compare(services.database, services.clock.now_ms()).first == []
    finally:
        over.set()
        for thread in threads:
            thread.join()
    services.close()
    assert compared(path).first == []


def test_it_goes_slice_by_slice_and_says_how_far_it_is(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    database.upgrade()
    number = 2 * TENANTS + 1
    told: list[tuple[int, int]] = []

    def many() -> Iterator[dict[str, object]]:
        for index in range(number):
            yield {"user": f"user-{index}"}

    database.write(
        lambda connection: connection.executemany(
            "INSERT INTO tenants (user_id, created_at, last_active_at) VALUES (:user, 0, 0)", many()
        )
    )
    found = compare(database, NOW, lambda done, total: told.append((done, total)))
    assert (found.first, found.tenants) == ([], number)
    assert told == [(TENANTS, number), (2 * TENANTS, number), (number, number)]
    database.close()
