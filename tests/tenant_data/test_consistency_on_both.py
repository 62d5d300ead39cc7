"""`compare` on each engine: nothing is found under load, and every counter that is falsified is."""

from __future__ import annotations

import threading
from contextlib import suppress

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel
from tests.tenant_data.test_consistency import COUNTERS, FIGURES, talk
from webapp.agent import ModelRequest
from webapp.errors import ModelError, NotFound
from webapp.storage import Connection, Database
from webapp.tenant_data.consistency.comparison import compare
from webapp.usage.rollup.worker import roll_up


def change(database: Database, sql: str) -> None:
    def work(connection: Connection) -> int:
        return connection.execute(sql, {}).rowcount

    assert database.write(work) > 0, sql


def test_each_falsified_counter_is_found(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel(otherwise="an answer"), MEMORY_MAX_MESSAGES="10")
    services = services_of(app)
    database, now = services.database, services.clock.now_ms()
    for user in ("alice", "bob"):
        for turn in range(3):
            assert talk(app, user, f"turn {turn}", f"{turn}") == 200
    assert talk(app, "alice", "streamed", stream=True) == 200
    roll_up(database)
    assert talk(app, "alice", "pending") == 200
    assert compare(database, now).first == []
    with database.read() as connection:
        (alice,) = connection.execute(
            "SELECT id FROM tenants WHERE user_id = 'alice'", {}
        ).fetchone()
    for column in COUNTERS:
        for step in ("+ 1", "- 1"):
            back = "- 1" if step == "+ 1" else "+ 1"
            if column == "error_count" and step == "- 1":
                continue
            change(database, f"UPDATE tenants SET {column} = {column} {step} WHERE id = {alice}")
            found = compare(database, now).first
            assert {one.tenant for one in found} == {alice}, column
            assert column.startswith("budget_") or any(column in one.counter for one in found)
            change(database, f"UPDATE tenants SET {column} = {column} {back} WHERE id = {alice}")
    for sql, back in (
        ("UPDATE sessions SET last_seq = last_seq + 1", "last_seq = last_seq - 1"),
        (
            "UPDATE sessions SET message_count = message_count + 1",
            "message_count = message_count - 1",
        ),
        *(
            (
                f"UPDATE usage SET {figure} = {figure} + 1 WHERE tenant_id = {tenant}"
                f" AND period = '{period}' AND measure = 'request'",
                f"{figure} = {figure} - 1 WHERE tenant_id = {tenant}"
                f" AND period = '{period}' AND measure = 'request'",
            )
            for figure in FIGURES
            for tenant, period in ((alice, "hour"), (alice, "day"), (0, "hour"), (0, "day"))
        ),
        ("UPDATE usage_rollup SET through = through + 1000", "through = through - 1000"),
    ):
        change(database, sql)
        assert compare(database, now).count, sql
        change(database, f"UPDATE {sql.split()[1]} SET {back}")
    assert compare(database, now).first == []


def test_under_load_nothing_is_found(make_app: MakeApp) -> None:
    """Turns, failures, repeats, refusals, clears, forgets and roll-ups go on while it compares."""

    def answer(request: ModelRequest) -> str:
        if request.messages[-1].content.endswith("3"):
            raise ModelError("The model failed.")
        return "an answer"

    app = make_app(model=FakeModel(otherwise=answer), MEMORY_MAX_MESSAGES="10", TENANT_QUEUE="1")
    services = services_of(app)
    over = threading.Event()

    def work(index: int) -> None:
        turn = 0
        while not over.is_set():
            user = f"user-{(index + turn) % 3}"
            talk(app, user, f"{index} {turn}", f"{index} {turn // 2}")
            if turn % 7 == index:
                services.acts.clear(user)
            if turn % 23 == index:
                with suppress(NotFound):
                    services.acts.forget(user)
            if turn % 5 == index:
                roll_up(services.database)
                services.chat.settle()
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
    assert compare(services.database, services.clock.now_ms()).first == []
