"""Limits in Redis: exact over servers, and what becomes of them when Redis is away."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.fakes import until
from tests.redis_server import RedisServer, redis_server
from tests.web.admin.person import form_to
from webapp.accounts.tries.tries import FAILURES_OF_ADDRESS
from webapp.storage.limits import InOneStep
from webapp.web.limits import EXTENSION, Limits

pytestmark = pytest.mark.redis

# The event loop stands still for longer than Redis is waited for, while the answer comes.
LATE = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, gevent
from limits import parse
from limits.storage import storage_from_string
import webapp.storage.limits
from webapp.storage.redis.limits import PATIENCE_SECONDS

storage = storage_from_string(sys.argv[1])
for connected in (False, True):
    asking = gevent.spawn(storage.take, [parse("3/hour")], "turns", "alice")
    gevent.spawn(gevent.monkey.get_original("time", "sleep"), PATIENCE_SECONDS * 1.5)
    print(*asking.get()[:2])
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
def limited(make_app: MakeApp, server: RedisServer) -> Flask:
    return make_app(RATE_LIMIT="3/hour;5/day", RATE_LIMIT_STORAGE_URL=server.url)


def limits_of(app: Flask) -> Limits:
    found = app.extensions[EXTENSION]
    assert isinstance(found, Limits)
    return found


def codes(app: Flask, user: str, number: int) -> list[int]:
    client = app.test_client()
    body = {"user_id": user, "message": "Hello"}
    return [client.post("/chat", json=body).status_code for _ in range(number)]


def readiness(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200, "turns can run without the limiter"
    assert answer.json is not None
    return dict(answer.json)


@dataclass
class Asked:
    """How often Redis was asked to count."""

    times: int = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    counted = Asked()
    real = InOneStep.take

    def take(self: InOneStep, *arguments: Any) -> tuple[int, int, float]:
        counted.times += 1
        return real(self, *arguments)

    monkeypatch.setattr(InOneStep, "take", take)
    return counted


def test_two_servers_let_exactly_the_limit_through_a_changed_one_at_once(
    make_app: MakeApp, server: RedisServer
) -> None:
    apps = [
        make_app(
            RATE_LIMIT="20/hour;1000/day", RATE_LIMIT_STORAGE_URL=server.url, TENANT_QUEUE="10"
        )
        for _ in range(2)
    ]

    def counted(user: str, number: int = 60) -> Counter[int]:
        with ThreadPoolExecutor(6) as pool:
            found = pool.map(lambda job: codes(apps[job % 2], user, 1)[0], range(number))
            return Counter(found)

    assert counted("alice") == {200: 20, 429: 40}
    for own, expected in (("33/hour", 33), ("7/hour", 7)):
        changed = apps[0].test_client().patch("/api/tenants/alice", json={"rate_limit": own})
        assert changed.status_code == 200
        assert counted("alice") == {200: expected, 429: 60 - expected}


def test_a_turn_is_one_command_and_says_where_its_user_stands(
    limited: Flask, server: RedisServer
) -> None:
    codes(limited, "alice", 1)
    with server.client as client:
        before = client.info("commandstats")
        answer = limited.test_client().post("/chat", json={"user_id": "alice", "message": "Hello"})
        after = client.info("commandstats")
        lives = [client.pttl(key) for key in client.keys("*alice*") + client.keys("LIMITS:{*")]
    assert after["cmdstat_evalsha"]["calls"] == before["cmdstat_evalsha"]["calls"] + 1
    assert answer.headers["X-RateLimit-Limit"] == "3"
    assert answer.headers["X-RateLimit-Remaining"] == "1"
    assert [codes(limited, "alice", 1), codes(limited, "alice", 1)] == [[200], [429]]
    assert len(lives) == 2
    assert all(3_590_000 < life <= 86_400_000 for life in lives)


def test_the_longer_limit_refuses_as_well(make_app: MakeApp, server: RedisServer) -> None:
    app = make_app(RATE_LIMIT="5/minute;2/day", RATE_LIMIT_STORAGE_URL=server.url)
    assert codes(app, "alice", 2) == [200, 200]
    refused = app.test_client().post("/chat", json={"user_id": "alice", "message": "Hello"})
    assert refused.status_code == 429
    assert refused.headers["X-RateLimit-Limit"] == "2"
    assert 86_390 <= int(refused.headers["Retry-After"]) <= 86_400


def test_a_killed_redis_lets_through_and_limits_hold_again_when_it_is_back(
    limited: Flask, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="switchboard.limits")
    assert codes(limited, "alice", 4) == [200, 200, 200, 429]
    server.kill()
    assert codes(limited, "alice", 30) == [200] * 30
    ready = readiness(limited)
    assert ready["checks"]["limiter"] == "down"
    assert ready["limiter_failures"] == 30
    metrics = limited.test_client().get("/metrics").text
    assert "switchboard_limiter_storage_failures_total{" in metrics
    server.start()
    assert codes(limited, "alice", 4) == [200, 200, 200, 429], "empty, and counting at once"
    until(lambda: readiness(limited)["checks"]["limiter"] == "ok")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["limiter_storage_failed", "limiter_storage_back"]


def test_a_redis_that_restarts_between_two_requests_is_not_noticed(
    limited: Flask, server: RedisServer
) -> None:
    codes(limited, "alice", 1)
    server.kill()
    server.start()
    assert codes(limited, "alice", 4) == [200, 200, 200, 429]
    assert readiness(limited)["limiter_failures"] == 0


def test_one_request_waits_for_a_redis_that_hangs_and_no_other(
    limited: Flask, server: RedisServer, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    codes(limited, "alice", 1)
    server.hang()
    asked.times = 0
    assert codes(limited, "bob", 30) == [200] * 30
    assert asked.times == 1
    ready = readiness(limited)
    assert ready["checks"]["limiter"] == "down"
    assert ready["limiter_failures"] == 30
    assert len([one for one in caplog.records if one.name == "switchboard.limits"]) == 1
    server.go_on()
    until(limits_of(limited).storage_is_up)
    assert codes(limited, "carol", 4) == [200, 200, 200, 429]


def test_a_redis_that_hangs_and_dies_is_found_when_it_is_back(
    limited: Flask, server: RedisServer
) -> None:
    codes(limited, "alice", 1)
    server.hang()
    assert codes(limited, "alice", 5) == [200] * 5
    server.kill()
    server.start()
    until(limits_of(limited).storage_is_up)
    assert codes(limited, "alice", 4) == [200, 200, 200, 429]


def test_a_process_that_is_late_does_not_take_redis_for_hung(server: RedisServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, server.url],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout == "-1 1\n-1 2\n", done.stderr


ILLNESSES: dict[str, tuple[Callable[[RedisServer], Any], Callable[[RedisServer], Any], str]] = {
    "full": (
        lambda server: server.set(maxmemory=1),
        lambda server: server.set(maxmemory=0),
        "is full",
    ),
    "read-only": (
        lambda server: server.client.replicaof("127.0.0.1", "1"),
        lambda server: server.client.replicaof("NO", "ONE"),
        "is read-only",
    ),
}


@pytest.mark.parametrize("illness", ["full", "read-only"])
def test_a_redis_that_takes_no_writes_lets_through_and_says_so(
    make_app: MakeApp, server: RedisServer, illness: str
) -> None:
    fall_ill, recover, words = ILLNESSES[illness]
    app = make_app(RATE_LIMIT="3/hour", RATE_LIMIT_STORAGE_URL=server.url)
    assert codes(app, "alice", 1) == [200]
    fall_ill(server)
    assert codes(app, "alice", 10) == [200] * 10
    ready = readiness(app)
    assert ready["checks"]["limiter"] == "down"
    assert ready["reasons"]["limiter"].startswith(f"The storage of the limits {words};")
    recover(server)
    until(limits_of(app).storage_is_up)
    assert codes(app, "alice", 3) == [200, 200, 429], "what was counted before is still there"


def test_a_wrong_password_lets_through_and_says_so(make_app: MakeApp, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "hunter2-right") as server:
        wrong = server.url.replace("//", "//:hunter2-wrong@")
        app = make_app(RATE_LIMIT="3/hour", RATE_LIMIT_STORAGE_URL=wrong)
        assert codes(app, "alice", 5) == [200] * 5
        ready = readiness(app)
        assert "refuses the password" in ready["reasons"]["limiter"]
        assert "hunter2" not in str(ready)
        right = server.url.replace("//", "//:hunter2-right@")
        assert codes(make_app(RATE_LIMIT="3/hour", RATE_LIMIT_STORAGE_URL=right), "alice", 4) == [
            *(200, 200, 200, 429)
        ]


def test_guesses_at_keys_are_counted_here_while_redis_is_away(
    make_app: MakeApp, server: RedisServer
) -> None:
    app = make_app(AUTH="required", RATE_LIMIT_STORAGE_URL=server.url)
    server.kill()
    client = app.test_client()
    found = [
        client.post("/chat", json={}, headers={"Authorization": "Bearer invented"}).status_code
        for _ in range(25)
    ]
    assert found == [401] * 20 + [429] * 5
    assert limits_of(app).storage_failures == 0, "nothing was let through"


def test_guesses_at_a_password_are_stopped_while_redis_is_away(
    make_app: MakeApp, server: RedisServer
) -> None:
    app = make_app(RATE_LIMIT_STORAGE_URL=server.url)
    server.kill()
    for number in range(FAILURES_OF_ADDRESS):
        services_of(app).sign_in._tries.admit(f"name{number}", "127.0.0.1", None)
    client = app.test_client()
    form = form_to(client.get("/admin/login").text, "/admin/login")
    typed = form.with_fields(name="alice", password="a guess")
    assert client.post("/admin/login", data=typed).status_code == 429


def test_redis_behind_tls_is_asked_only_with_a_certificate_that_is_trusted(
    make_app: MakeApp, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with redis_server(tmp_path) as server:
        server.set(**{"tls-key-file": str(key), "tls-cert-file": str(certificate)})
        server.set(**{"tls-ca-cert-file": str(certificate), "tls-auth-clients": "no"})
        server.set(**{"port": 0, "tls-port": server.port})
        url = server.url.replace("redis:", "rediss:")
        strange = make_app(RATE_LIMIT="3/hour", RATE_LIMIT_STORAGE_URL=url)
        assert codes(strange, "alice", 4) == [200] * 4
        assert "cannot be reached" in readiness(strange)["reasons"]["limiter"]
        trusted = f"{url}?ssl_ca_certs={certificate}"
        app = make_app(RATE_LIMIT="3/hour", RATE_LIMIT_STORAGE_URL=trusted)
        assert codes(app, "alice", 4) == [200, 200, 200, 429]
