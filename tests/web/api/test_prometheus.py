"""GET /metrics: a Prometheus parser reads it, it tells what happened, and it names no tenant."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, GatedModel, said, until
from webapp.accounts.audit import Actor
from webapp.errors import ModelError
from webapp.web.limits import EXTENSION as LIMITS_EXTENSION

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(client: FlaskClient, **headers: str) -> Values:
    """Every sample by its name and its labels, without those of host and worker."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Values = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            own = ("host", "worker")
            labels = {name: value for name, value in sample.labels.items() if name not in own}
            name = (sample.name, tuple(sorted(labels.items())))
            assert name not in found, "two samples of one name"
            found[name] = sample.value
    return found


def value(found: Values, name: str, **labels: str) -> float:
    return found[f"switchboard_{name}", tuple(sorted(labels.items()))]


def say(client: FlaskClient, user_id: str, **more: object) -> int:
    body = {"user_id": user_id, "message": "Hello", **more}
    return client.post("/chat", json=body, buffered=True).status_code


def test_it_tells_what_happened(make_app: MakeApp) -> None:
    model = FakeModel.of(ModelError("no"), otherwise=said("Hi", 30, 12))
    client = make_app(model=model, RATE_LIMIT="3/minute").test_client()
    assert [say(client, "alice") for _ in range(4)] == [502, 200, 200, 429]
    assert say(client, "bob", stream=True) == 200
    assert say(client, "") == 400
    found = scraped(client)
    assert value(found, "tenants") == 2
    assert value(found, "database_up") == 1
    assert value(found, "turns_total", code="ok") == 3
    assert value(found, "turns_total", code="model_error") == 1
    assert value(found, "turns_total", code="rate_limited") == 1
    assert value(found, "turn_errors_total") == 1
    assert value(found, "turns_refused_total") == 1
    assert value(found, "tokens_total", direction="input") == 90
    assert value(found, "tokens_total", direction="output") == 36
    chat = {"method": "POST", "route": "/chat"}
    assert value(found, "http_requests_total", **chat, status="200") == 3
    assert value(found, "http_requests_total", **chat, status="400") == 1
    assert value(found, "http_requests_total", **chat, status="429") == 1
    assert value(found, "http_requests_total", **chat, status="502") == 1


def test_latencies_are_a_histogram_in_seconds(make_app: MakeApp) -> None:
    def slow(_: object) -> str:
        time.sleep(0.06)
        return "Hi"

    client = make_app(model=FakeModel(otherwise=slow)).test_client()
    for _ in range(2):
        say(client, "alice", stream=True)
    found = scraped(client)
    for name in ("turn_duration_seconds", "first_token_seconds"):
        buckets = {
            float(labels[0][1]): number
            for (sample, labels), number in found.items()
            if sample == f"switchboard_{name}_bucket"
        }
        numbers = [number for _, number in sorted(buckets.items())]
        assert numbers == sorted(numbers), "a histogram is cumulative"
        assert buckets[0.05] == 0
        assert buckets[float("inf")] == value(found, f"{name}_count") == 2
        assert 0.1 < value(found, f"{name}_sum") < 5


def test_answers_are_counted_with_how_long_they_took(client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/api/tenants/nobody")
    found = scraped(client)
    name, labels = (
        "http_request_duration_seconds",
        {
            "method": "GET",
            "route": "/api/tenants/<user_id>",
        },
    )
    assert value(found, f"{name}_count", **labels) == 3
    assert value(found, f"{name}_bucket", **labels, le="+Inf") == 3
    assert value(found, f"{name}_bucket", **labels, le="300.0") == 3
    assert 0 < value(found, f"{name}_sum", **labels) < 5


def test_each_family_is_told_once_and_the_process_is_in_it(client: FlaskClient) -> None:
    lines = client.get("/metrics").text.splitlines()
    for mark in ("# HELP ", "# TYPE "):
        names = [line.split()[2] for line in lines if line.startswith(mark)]
        assert len(names) == len(set(names))
        assert {"switchboard_turns_running", "process_resident_memory_bytes"} <= set(names)


def test_figures_grow_and_stay_when_a_tenant_is_forgotten(client: FlaskClient) -> None:
    say(client, "alice")
    before = value(scraped(client), "turns_total", code="ok")
    client.delete("/api/tenants/alice")
    say(client, "bob")
    found = scraped(client)
    assert value(found, "turns_total", code="ok") == before + 1
    assert value(found, "tenants") == 1


def test_no_tenant_and_no_words_of_its_own_are_in_it(client: FlaskClient) -> None:
    client.post("/chat", json={"user_id": "planted-alice", "message": "planted words"})
    client.get("/api/tenants/planted-bob")
    client.get("/planted-path")
    client.open("/chat", method="PLANTED")
    text = client.get("/metrics").text
    assert "planted" not in text.lower()
    assert 'route="unmatched"' in text
    assert 'method="other"' in text


def test_running_and_waiting_turns_are_counted(make_app: MakeApp) -> None:
    model = GatedModel()
    client = make_app(model=model).test_client()
    app = client.application
    with ThreadPoolExecutor(4) as pool:
        turns = [pool.submit(say, app.test_client(), who) for who in ("alice", "alice", "bob")]
        load = services_of(app).chat
        until(lambda: (load.load.running, load.load.waiting) == (2, 1))
        found = scraped(client)
        assert value(found, "turns_running") == 2
        assert value(found, "turns_waiting") == 1
        model.gate.set()
        assert [turn.result() for turn in turns] == [200, 200, 200]
    found = scraped(client)
    assert value(found, "turns_running") == value(found, "turns_waiting") == 0


def test_every_worker_tells_the_same_about_turns(make_app: MakeApp) -> None:
    first, second = make_app().test_client(), make_app().test_client()
    say(first, "alice")
    say(second, "alice")
    for client in (first, second):
        found = scraped(client)
        assert value(found, "turns_total", code="ok") == 2
        labels = {"method": "POST", "route": "/chat", "status": "200"}
        assert value(found, "http_requests_total", **labels) == 1
    assert 'worker="' in first.get("/metrics").text


def test_a_limiter_that_failed_is_told(app: Flask, client: FlaskClient) -> None:
    for _ in range(3):
        app.extensions[LIMITS_EXTENSION]._outage.count_let_through()
    assert value(scraped(client), "limiter_storage_failures_total") == 3


@pytest.mark.sqlite
def test_without_a_database_the_rest_is_told(make_app: MakeApp) -> None:
    found = scraped(make_app(migrated=False).test_client())
    assert value(found, "database_up") == 0
    assert ("switchboard_tenants", ()) not in found
    assert value(found, "turns_running") == 0


@pytest.mark.parametrize(
    ("role", "users", "status"),
    [("chat", "*", 403), ("viewer", "*", 200), ("owner", "*", 200), ("viewer", "org-a-*", 403)],
)
def test_it_needs_a_key_that_may_look_at_everyone(
    make_app: MakeApp, role: str, users: str, status: int
) -> None:
    app = make_app(AUTH="required")
    client = app.test_client()
    assert client.get("/metrics").status_code == 401
    key = services_of(app).keys.create("scraper", role=role, users=users, by=Actor.command_line())
    headers = {"Authorization": f"Bearer {key.secret}"}
    assert client.get("/metrics", headers=headers).status_code == status


def test_another_method_is_refused(client: FlaskClient) -> None:
    answer = client.post("/metrics")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_the_error_is_the_usual_one(make_app: MakeApp) -> None:
    answer = make_app(AUTH="required").test_client().get("/metrics")
    assert set(json.loads(answer.data)) == {"error", "code", "request_id"}
