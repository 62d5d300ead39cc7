"""`switchboard check`: what it names, what it faults, and that it ends."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.cli.terminal import SWITCHBOARD
from tests.conftest import SECRET, MakeApp, services_of
from tests.server.running import running
from tests.upstream import Upstream, streaming, upstream
from webapp.clock import SystemClock
from webapp.tenant_data.consistency.comparison import compare
from webapp.tenant_data.consistency.findings import Mismatch


@pytest.fixture(scope="module")
def model_server() -> Iterator[Upstream]:
    with upstream(lambda _request: streaming("Hello")) as server:
        yield server


def check(folder: Path, *arguments: str, **settings: str) -> tuple[int, list[str]]:
    """The status, and the lines, when the instance is `folder` and nothing else is set."""
    given = {"DATABASE_URL": f"sqlite:///{folder / 'switchboard.db'}", **settings}
    named = {
        name if name.startswith(("OPENAI", "OTEL")) else f"SWITCHBOARD_{name}": value
        for name, value in given.items()
    }
    done = subprocess.run(
        [SWITCHBOARD, "check", *arguments],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **named},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def line(lines: list[str], state: str, name: str) -> str:
    begins = (f"{state:<6} {name}:", f"{state:<6} {name} ")
    (found,) = [one for one in lines if one.startswith(begins)]
    return found


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


def test_it_names_the_file_the_model_and_the_limiter(
    app: Flask, tmp_path: Path, model_server: Upstream
) -> None:
    status, lines = check(
        tmp_path, SECRET_KEY=SECRET, OPENAI_BASE_URL=model_server.base_url, MODEL="a-model"
    )
    assert status == 0, lines
    assert str(tmp_path / "switchboard.db") in line(lines, "ok", "database")
    assert f"a-model at {model_server.base_url}" in line(lines, "ok", "model")
    assert "switchboard.db-limits" in line(lines, "ok", "limiter")
    assert "switchboard.env" in line(lines, "ok", "settings")


def test_traces_that_cannot_be_sent_are_a_warning(app: Flask, tmp_path: Path) -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    _, lines = check(tmp_path, SECRET_KEY=SECRET, **asked, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "http/protobuf" in line(lines, "warn", "traces")
    _, lines = check(tmp_path, SECRET_KEY=SECRET, **asked)
    assert not any(one.startswith("warn   traces") for one in lines)


def test_all_faults_of_the_settings_are_told_and_end_it(tmp_path: Path) -> None:
    status, lines = check(
        tmp_path, RATE_LIMIT="lots", TOKEN_BUDGET="abc", CORS_ORIGINS="example.org"
    )
    assert status == 1
    assert len(lines) == 3
    for name in ("RATE_LIMIT", "TOKEN_BUDGET", "CORS_ORIGINS"):
        assert f"SWITCHBOARD_{name} must" in line(lines, "fault", f"settings: SWITCHBOARD_{name}")


def test_every_fault_is_told_without_a_secret(tmp_path: Path) -> None:
    status, lines = check(
        tmp_path,
        SECRET_KEY="a" * 40,
        RATE_LIMIT_STORAGE_URL="redis://:hunter2@127.0.0.1:9/0",
        OPENAI_BASE_URL="http://me:hunter2@127.0.0.1:9/v1",
    )
    assert status == 1
    assert "SECRET_KEY is weak" in line(lines, "fault", "settings")
    assert "db upgrade" in line(lines, "fault", "database")
    assert "127.0.0.1:9" in line(lines, "fault", "limiter")
    assert "127.0.0.1:9" in line(lines, "fault", "model")
    assert "hunter2" not in "".join(lines)


def test_a_model_that_hangs_does_not_hang_it(app: Flask, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        status, lines = check(tmp_path, OPENAI_BASE_URL=url, MODEL_TIMEOUT="1s")
    assert status == 1
    assert url in line(lines, "fault", "model")


def test_a_healthy_dev_has_no_fault(tmp_path: Path, model_server: Upstream) -> None:
    with running(tmp_path, model_server.base_url) as server:
        assert server.chat("alice", "Hello").status == 200
        for arguments in ((), ("--data",)):
            status, lines = check(server.database.parent, *arguments)
            assert status == 0, lines
            assert {one.split()[0] for one in lines} == {"ok", "warn"}
    assert "SWITCHBOARD_SECRET_KEY is not set" in "".join(lines)


def test_counters_are_compared_with_their_rows(app: Flask, tmp_path: Path) -> None:
    client = app.test_client()
    for user_id in ("alice", "alice", "bob"):
        answer = client.post("/chat", json={"user_id": user_id, "message": "Hello"})
        assert answer.status_code == 200, answer.json
    acts, database = services_of(app).acts, services_of(app).database
    acts.import_("carol", list(acts.export("alice")))
    acts.clear("bob")
    assert compare(database, SystemClock().now_ms()).count == 0
    status, lines = check(tmp_path, "--data")
    assert status == 0, lines
    assert "agrees with its rows" in line(lines, "ok", "data")

    def tamper(change: str) -> None:
        database.write(lambda connection: connection.execute(change))

    tamper("UPDATE tenants SET message_count = 9, request_count = 7 WHERE user_id = 'alice'")
    tamper("UPDATE sessions SET message_count = 5 WHERE tenant_id = 1")
    found = compare(database, SystemClock().now_ms())
    assert {(one.counter, one.said, one.counted) for one in found.first} == {
        ("message_count", 5, 4),
        ("message_count", 9, 4),
        ("request_count", 7, 2),
    }
    assert isinstance(found.first[0], Mismatch)
    status, lines = check(tmp_path, "--data")
    assert status == 1
    assert "alice: request_count says 7, the rows say 2." in line(lines, "fault", "data")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("valkey://127.0.0.1", "needs the package valkey"),
        ("redis+cluster://:hunter2@127.0.0.1:9", "does not answer"),
        ("sqlite:////no/such/folder/limits.db", "a file that cannot be used"),
        ("sqlite:////proc", "a file that cannot be used"),
        (f"sqlite:///{__file__}", "a file that cannot be used"),
    ],
)
def test_a_limiter_that_cannot_be_made_is_a_sentence_for_serve_and_check(
    app: Flask, tmp_path: Path, model_server: Upstream, url: str, words: str
) -> None:
    del app
    given = {
        "SECRET_KEY": SECRET,
        "OPENAI_BASE_URL": model_server.base_url,
        "RATE_LIMIT_STORAGE_URL": url,
    }
    status, lines = check(tmp_path, **given)
    assert status == 1
    assert words in line(lines, "fault", "limiter")
    done = subprocess.run(
        [SWITCHBOARD, "serve", "--bind", "127.0.0.1:1"],
        env={
            "PATH": "/usr/bin:/bin",
            "SWITCHBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'switchboard.db'}",
            "SWITCHBOARD_SECRET_KEY": SECRET,
            "SWITCHBOARD_RATE_LIMIT_STORAGE_URL": url,
            "OPENAI_BASE_URL": model_server.base_url,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert words in sentence
    assert "hunter2" not in sentence + "".join(lines)
