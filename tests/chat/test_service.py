"""ChatService: what it promises of a turn."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, GatedModel, HandClock, said, until
from webapp.agent.turn import Started
from webapp.allowances import TokenBudget, parse_budget
from webapp.chat.service import ChatService
from webapp.chat.values import ChatAnswer, ChatTurn
from webapp.errors import (
    ClientGone,
    Conflict,
    GuardrailRefused,
    IdempotencyMismatch,
    InvalidInput,
    ModelError,
    QuotaExhausted,
    TenantBlocked,
    TenantBusy,
)
from webapp.memory.clearing.parts import clear
from webapp.memory.history.store import history
from webapp.storage import Connection
from webapp.tenants.store import ensure, number_of, standing


def turn(user_id: str, message: str = "hi", **options: Any) -> ChatTurn:
    return ChatTurn(user_id, message, "req-test", time.monotonic(), **options)


def until_arrived(service: ChatService, number: int) -> None:
    until(lambda: sum(astuple(service.load)) == number)


def chat_of(app: Flask) -> ChatService:
    return services_of(app).chat


def contents(app: Flask, user_id: str) -> list[str]:
    with services_of(app).database.read() as connection:
        number = number_of(connection, user_id)
        return [] if number is None else [m.content for m in history(connection, number, "default")]


def row(app: Flask, user_id: str, columns: str) -> Any:
    services_of(app).chat.settle()
    with services_of(app).database.read() as connection:
        return connection.execute(
            f"SELECT {columns} FROM tenants WHERE user_id = :user", {"user": user_id}
        ).fetchone()


def change(app: Flask, user_id: str, assignment: str) -> None:
    def work(connection: Connection) -> None:
        ensure(connection, user_id, 1)
        connection.execute(
            f"UPDATE tenants SET {assignment} WHERE user_id = :user", {"user": user_id}
        )

    services_of(app).database.write(work)


def test_a_turn_counts_in_the_tenants_figures(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(said("ok", 10, 5)))
    chat_of(app).reply(turn("alice"))
    assert row(app, "alice", "message_count, request_count, error_count, total_tokens") == (
        2,
        1,
        0,
        15,
    )


def test_a_failed_turn_counts_and_is_not_stored(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(otherwise=ModelError("No.")))
    with pytest.raises(ModelError):
        chat_of(app).reply(turn("alice"))
    assert row(app, "alice", "message_count, request_count, error_count") == (0, 1, 1)


def test_turns_of_one_tenant_run_one_at_a_time_in_order(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate, TENANT_QUEUE="100")
    service = chat_of(app)
    threads = []
    for number in range(12):
        thread = threading.Thread(target=service.reply, args=(turn("alice", f"q{number}"),))
        threads.append(thread)
        thread.start()
        until_arrived(service, number + 1)
    gate.gate.set()
    for thread in threads:
        thread.join(10)
    questions = [text for text in contents(app, "alice") if text.startswith("q")]
    assert questions == [f"q{number}" for number in range(12)]
    assert gate.seen == [2 + 2 * number for number in range(12)]


def test_one_tenant_too_many_is_busy_and_others_are_not(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate, TENANT_QUEUE="2")
    service = chat_of(app)
    threads = [threading.Thread(target=service.reply, args=(turn("alice"),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: service.load.waiting == 2)
    with pytest.raises(TenantBusy):
        service.reply(turn("alice"))
    bob = threading.Thread(target=service.reply, args=(turn("bob"),))
    bob.start()
    gate.gate.set()
    for thread in [*threads, bob]:
        thread.join(5)
    assert len(contents(app, "bob")) == 2
    assert len(contents(app, "alice")) == 6
    assert row(app, "alice", "request_count, refused_count") == (4, 1)


def test_a_cleared_history_does_not_come_back(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate)
    gate.gate.set()
    chat_of(app).reply(turn("alice", "old words"))
    assert gate.entered.acquire(timeout=5)
    gate.gate.clear()
    thread = threading.Thread(target=chat_of(app).reply, args=(turn("alice", "new words"),))
    thread.start()
    assert gate.entered.acquire(timeout=5)
    database = services_of(app).database

    def work(connection: Connection) -> int:
        number = number_of(connection, "alice")
        assert number is not None
        return clear(connection, number)

    assert database.write(work) == 2
    gate.gate.set()
    thread.join(5)
    assert "old words" not in contents(app, "alice")


def test_a_forgotten_tenant_does_not_come_back(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate)
    failures: list[Exception] = []

    def run() -> None:
        try:
            chat_of(app).reply(turn("alice"))
        except Conflict as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert gate.entered.acquire(timeout=5)
    services_of(app).database.write(
        lambda connection: connection.execute("DELETE FROM tenants", {})
    )
    gate.gate.set()
    thread.join(5)
    assert [getattr(f, "code", "") for f in failures] == ["tenant_forgotten"]
    assert row(app, "alice", "id") is None


def test_a_blocked_tenant_is_refused(app: Flask, model: FakeModel) -> None:
    change(app, "alice", "blocked_at = 1")
    with pytest.raises(TenantBlocked):
        chat_of(app).reply(turn("alice"))
    assert model.seen == []
    change(app, "alice", "blocked_at = NULL")
    assert chat_of(app).reply(turn("alice")).reply


def test_a_caller_that_hung_up_leaves_nothing(app: Flask) -> None:
    gone = threading.Event()
    gone.set()
    with pytest.raises(ClientGone):
        chat_of(app).reply(turn("alice", cancel=gone))
    assert contents(app, "alice") == []


def test_a_stream_closed_early_leaves_nothing_and_frees_the_place(app: Flask) -> None:
    events = chat_of(app).stream(turn("alice"))
    assert isinstance(next(events), Started)
    next(events)
    events.close()
    assert contents(app, "alice") == []
    assert chat_of(app).reply(turn("alice")).reply
    assert row(app, "alice", "request_count, error_count") == (2, 0)


def test_a_budget_is_used_up_by_streams_that_are_left_before_the_bill(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(otherwise="word " * 200), TOKEN_BUDGET="2000/day")
    for number in range(2):
        events = chat_of(app).stream(turn("alice", "a question of some words"))
        for _ in range(150):
            next(events)
        events.close()
        used = row(app, "alice", "input_tokens, output_tokens, day_tokens")
        assert used[2] == used[0] + used[1] > 180 * (number + 1)
    for _ in range(3):
        with suppress(QuotaExhausted):
            chat_of(app).reply(turn("alice"))
    with pytest.raises(QuotaExhausted):
        chat_of(app).reply(turn("alice"))


def test_an_answer_without_a_bill_counts_by_estimate_and_says_nothing_of_it(
    make_app: MakeApp,
) -> None:
    app = make_app(model=FakeModel.of("word " * 100))
    answer = chat_of(app).reply(turn("alice"))
    assert answer.usage.total_tokens == 0
    assert row(app, "alice", "output_tokens")[0] == 125


def test_a_stream_closed_after_its_answer_is_counted_once(app: Flask) -> None:
    events = chat_of(app).stream(turn("alice"))
    while not isinstance(next(events), ChatAnswer):
        pass
    events.close()
    assert row(app, "alice", "request_count, message_count") == (1, 2)


def test_the_same_key_gets_the_first_answer_without_a_second_turn(
    app: Flask, model: FakeModel
) -> None:
    first = chat_of(app).reply(turn("alice", idempotency_key="k1"))
    again = chat_of(app).reply(turn("alice", idempotency_key="k1"))
    assert (again.reply, again.request_id) == (first.reply, first.request_id)
    assert len(model.seen) == 1
    assert len(contents(app, "alice")) == 2
    chat_of(app).reply(turn("bob", idempotency_key="k1"))
    assert len(model.seen) == 2


def test_the_same_key_with_another_body_is_refused(app: Flask) -> None:
    chat_of(app).reply(turn("alice", "one", idempotency_key="k1"))
    with pytest.raises(IdempotencyMismatch):
        chat_of(app).reply(turn("alice", "two", idempotency_key="k1"))


def test_a_key_whose_turn_is_running_is_a_conflict(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate)
    first = turn("alice", idempotency_key="k1")
    thread = threading.Thread(target=chat_of(app).reply, args=(first,))
    thread.start()
    assert gate.entered.acquire(timeout=5)
    with pytest.raises(Conflict):
        chat_of(app).reply(turn("alice", idempotency_key="k1"))
    gate.gate.set()
    thread.join(5)


def test_a_failed_turn_keeps_no_key(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(ModelError("No."), otherwise=said("yes")))
    with pytest.raises(ModelError):
        chat_of(app).reply(turn("alice", idempotency_key="k1"))
    assert chat_of(app).reply(turn("alice", idempotency_key="k1")).reply == "yes"


def test_a_key_is_free_again_after_a_day(make_app: MakeApp) -> None:
    clock = HandClock()
    app = make_app(clock=clock)
    chat_of(app).reply(turn("alice", "one", idempotency_key="k1"))
    clock.advance(24 * 3600 + 1)
    assert chat_of(app).reply(turn("alice", "two", idempotency_key="k1")).reply


@pytest.mark.parametrize("own", [None, "100/day"])
def test_an_exhausted_budget_refuses_until_midnight(make_app: MakeApp, own: str | None) -> None:
    clock = HandClock(1_700_000_000_000)
    default = "" if own else "100/day"
    app = make_app(
        model=FakeModel.of(otherwise=said("ok", 60, 40)), clock=clock, TOKEN_BUDGET=default
    )
    chat_of(app).reply(turn("alice"))
    if own:
        change(app, "alice", f"token_budget = '{own}'")
    with pytest.raises(QuotaExhausted) as caught:
        chat_of(app).reply(turn("alice"))
    assert 0 < caught.value.retry_after <= 86_400
    clock.advance(caught.value.retry_after)
    assert chat_of(app).reply(turn("alice")).reply == "ok"


def test_budgets_are_read_strictly() -> None:
    assert parse_budget("100/day; 2000 per month") == TokenBudget(100, 2000)
    assert parse_budget("") == TokenBudget()
    for text in ("100", "-1/day", "1/day;2/day", "1/hour", "ten/day"):
        with pytest.raises(InvalidInput):
            parse_budget(text)


def test_changed_instructions_hold_from_the_next_turn_of_everyone(
    app: Flask, model: FakeModel
) -> None:
    configurations = services_of(app).configurations
    chat_of(app).reply(turn("alice"))
    configurations.change(replace(configurations.original, instructions="Be rude."), by="test")
    chat_of(app).reply(turn("alice"))
    chat_of(app).reply(turn("bob"))
    assert [seen[0].content for seen in model.seen] == [
        "You are a helpful assistant.",
        "Be rude.",
        "Be rude.",
    ]
    with pytest.raises(Conflict):
        configurations.change(configurations.original, by="test", expected=0)


def test_no_write_lock_is_held_during_a_model_call(make_app: MakeApp) -> None:
    gate = GatedModel()
    app = make_app(model=gate)
    thread = threading.Thread(target=chat_of(app).reply, args=(turn("alice"),))
    thread.start()
    assert gate.entered.acquire(timeout=5)
    started = time.monotonic()
    services_of(app).database.write(lambda connection: ensure(connection, "bob", 1))
    assert time.monotonic() - started < 1
    with services_of(app).database.read() as connection:
        assert standing(connection, "bob") is not None
    gate.gate.set()
    thread.join(5)


def test_a_failing_turn_does_not_bring_a_forgotten_tenant_back(make_app: MakeApp) -> None:
    gate = GatedModel(answer="")  # an empty answer is a failure
    app = make_app(model=gate)
    failures: list[ModelError] = []

    def run() -> None:
        try:
            chat_of(app).reply(turn("alice"))
        except ModelError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert gate.entered.acquire(timeout=5)
    services_of(app).database.write(
        lambda connection: connection.execute("DELETE FROM tenants", {})
    )
    gate.gate.set()
    thread.join(5)
    assert len(failures) == 1
    assert row(app, "alice", "id") is None


def test_refused_requests_are_counted_and_leave_no_row(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMIT="2/minute")
    client = app.test_client()
    body = {"user_id": "alice", "message": "hello"}
    statuses = [client.post("/chat", json=body).status_code for _ in range(50)]
    assert statuses == [200] * 2 + [429] * 48
    page = client.get("/api/tenants/alice/metrics?window=1h").json
    assert page is not None
    assert (page["requests"], page["rate_limited"], page["errors"]) == (50, 48, 0)
    assert sum(step["requests"] for step in page["series"]) == 50
    everyone = client.get("/api/metrics?window=24h").json
    assert everyone is not None
    assert (everyone["requests"], everyone["rate_limited"]) == (50, 48)
    assert row(app, "alice", "request_count, refused_count") == (50, 48)
    assert 'code="rate_limited"} 48' in client.get("/metrics").text
    with services_of(app).database.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM requests", {}).fetchone() == (2,)


def test_refusals_are_written_at_the_latest_when_it_stops(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMIT="1/minute")
    body = {"user_id": "alice", "message": "hello"}
    for _ in range(5):
        app.test_client().post("/chat", json=body)
    services_of(app).close()
    with services_of(app).database.read() as connection:
        counted = "SELECT request_count, refused_count FROM tenants"
        assert connection.execute(counted, {}).fetchone() == (5, 4)
    services_of(app).database.close()


@pytest.mark.parametrize("message", ["", "x" * 40_000])
def test_a_request_that_cannot_be_bound_makes_no_tenant(make_app: MakeApp, message: str) -> None:
    app = make_app()
    body = {"user_id": "new", "message": message}
    assert app.test_client().post("/chat", json=body).status_code == 400
    assert app.test_client().get("/api/tenants/new").status_code == 404


def test_a_turn_refused_by_the_agent_makes_no_tenant(make_app: MakeApp) -> None:
    refusal = GuardrailRefused("no", guardrail="g")
    app = make_app(model=FakeModel.of(refusal))
    body = {"user_id": "new", "message": "hello"}
    assert app.test_client().post("/chat", json=body).status_code == 400
    assert app.test_client().get("/api/tenants/new").status_code == 404
    everyone = app.test_client().get("/api/metrics?window=1h").json
    assert everyone is not None
    assert everyone["requests"] == 1


def test_a_failed_turn_of_a_new_tenant_is_counted_for_it(make_app: MakeApp) -> None:
    app = make_app(model=FakeModel.of(ModelError("away")))
    body = {"user_id": "new", "message": "hello"}
    assert app.test_client().post("/chat", json=body).status_code == 502
    assert row(app, "new", "request_count, error_count") == (1, 1)


def test_a_limit_of_an_unknown_tenant_makes_none(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMIT="1/minute")
    body = {"user_id": "new", "message": "hello"}
    assert app.test_client().post("/chat", json=body).status_code == 200
    assert app.test_client().delete("/api/tenants/new").status_code == 200
    assert app.test_client().post("/chat", json=body).status_code == 429
    assert app.test_client().get("/api/tenants/new").status_code == 404
