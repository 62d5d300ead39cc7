"""/api/metrics and /api/tenants/…/metrics: they tell what happened, per tenant and in all."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import MakeApp
from tests.fakes import FakeModel, said
from webapp.errors import ModelError

FIELDS = {
    "requests",
    "errors",
    "rate_limited",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "series",
}


def figures(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200
    assert isinstance(answer.json, dict)
    return answer.json


def turn(client: FlaskClient, user_id: str, **more: Any) -> int:
    body = {"user_id": user_id, "message": "Hello", **more}
    answer = client.post("/chat", json=body)
    answer.get_data()  # a stream is recorded when it has been read
    return answer.status_code


def test_every_way_to_end_is_counted(make_app: MakeApp) -> None:
    model = FakeModel.of(
        said("one", 10, 1), said("two", 20, 2), ModelError("no"), said("three", 30, 3)
    )
    client = make_app(model=model, RATE_LIMIT="3/day").test_client()
    assert turn(client, "alice") == 200
    assert turn(client, "alice", stream=True) == 200
    assert turn(client, "alice") == 502
    assert turn(client, "bob") == 200
    assert turn(client, "alice", message=" ") == 400  # did not pass binding: not counted
    assert turn(client, "alice", session_id="s", message="") == 400
    client.patch("/api/tenants/alice", json={"blocked": True})
    assert turn(client, "alice") == 403  # before the limit, which it does not use up
    client.patch("/api/tenants/alice", json={"blocked": False})
    assert turn(client, "alice") == 429
    alice = figures(client, "/api/tenants/alice/metrics?window=1h")
    assert set(alice) == FIELDS
    assert (alice["requests"], alice["errors"], alice["rate_limited"]) == (5, 1, 1)
    assert (alice["input_tokens"], alice["output_tokens"]) == (30, 3)
    assert set(alice["latency_ms"]) == {"p50", "p95", "p99"}
    everyone = figures(client, "/api/metrics?window=1h")
    assert (everyone["requests"], everyone["errors"], everyone["rate_limited"]) == (6, 1, 1)
    assert (everyone["input_tokens"], everyone["output_tokens"]) == (60, 6)
    tenant = figures(client, "/api/tenants/alice")
    assert (tenant["request_count"], tenant["error_count"]) == (5, 1)


@pytest.mark.parametrize(
    ("window", "steps"), [("1h", 60), ("24h", 24), ("7d", 28), ("30d", 30), ("", 24)]
)
def test_the_series_covers_the_window_and_adds_up(
    client: FlaskClient, window: str, steps: int
) -> None:
    turn(client, "alice")
    for path in ("/api/metrics", "/api/tenants/alice/metrics"):
        found = figures(client, f"{path}?window={window}")
        series = found["series"]
        assert len(series) == steps
        assert set(series[0]) == {"at", "requests", "errors", "tokens"}
        assert [point["at"] for point in series] == sorted(point["at"] for point in series)
        assert all(point["at"].endswith("Z") for point in series)
        assert sum(point["requests"] for point in series) == found["requests"] == 1


def test_nothing_has_no_latency(client: FlaskClient) -> None:
    found = figures(client, "/api/metrics")
    assert found["requests"] == 0
    assert found["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_one_tenant_does_not_see_the_figures_of_another(client: FlaskClient) -> None:
    turn(client, "alice")
    turn(client, "bob")
    turn(client, "bob")
    assert figures(client, "/api/tenants/alice/metrics")["requests"] == 1
    assert figures(client, "/api/tenants/bob/metrics")["requests"] == 2


def test_an_unknown_tenant_has_no_metrics_and_is_not_made(app: Flask, client: FlaskClient) -> None:
    assert client.get("/api/tenants/mallory/metrics").status_code == 404
    assert figures(client, "/api/tenants")["tenants"] == []


@pytest.mark.parametrize("query", ["window=2h", "window=1H", "from=0", "window=1h&window=7d"])
def test_another_window_is_wrong_input(client: FlaskClient, query: str) -> None:
    turn(client, "alice")
    for path in ("/api/metrics", "/api/tenants/alice/metrics"):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert answer.json is not None
        assert answer.json["fields"]
