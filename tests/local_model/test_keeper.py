"""The embedded model is started again when its process dies; real processes, a real port."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes import until
from webapp.local_model import EmbeddedModel, health
from webapp.local_model import keeper as keeper_module
from webapp.local_model import process as process_module
from webapp.local_model.keeper import Keeper


class Kept:
    """A keeper with what it said, its port, and how to ask behind it."""

    def __init__(self) -> None:
        self.left = model = EmbeddedModel().start()
        self.base_url, self.key, self.first = model.base_url, model.key, model.pid
        self.said: list[str] = []
        self.keeper = Keeper(self.first, model.hand_over(), self.key, self.said.append)
        self.keeper.start()

    @property
    def pid(self) -> int:
        return self.keeper._pid

    def ask(self) -> int:
        place = self.base_url.removeprefix("http://").removesuffix("/v1")
        connection = http.client.HTTPConnection(place, timeout=60)
        body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection.request("POST", "/v1/chat/completions", body, head)
            return connection.getresponse().status
        except ConnectionError:
            return 0
        finally:
            connection.close()


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.keeper.stop()
    until(lambda: not _runs(kept.pid))
    kept.keeper._model.stop()
    kept.left.stop()


def replaced(kept: Kept) -> int:
    """Kills the child and asks until there is another; what came back."""
    before = kept.pid
    os.kill(before, signal.SIGKILL)
    until(lambda: not _runs(before))
    until(lambda: kept.ask() != 0, 60)
    until(lambda: kept.pid != before)
    return kept.ask()


def test_one_that_is_killed_is_replaced_behind_the_same_port(kept: Kept) -> None:
    assert kept.ask() == 200
    assert [replaced(kept), replaced(kept)] == [200, 200]
    assert health.answers(kept.base_url)
    assert len(kept.said) == 2


def test_one_that_cannot_be_started_is_tried_again_with_pauses(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    found = process_module.find_weights
    monkeypatch.setattr(process_module, "find_weights", lambda: broken)
    monkeypatch.setattr(keeper_module, "LONGEST_PAUSE", 0.1)
    os.kill(kept.pid, signal.SIGKILL)
    until(lambda: sum("cannot be used" in each for each in kept.said) >= 2, 30)
    assert not health.answers(kept.base_url)
    monkeypatch.setattr(process_module, "find_weights", found)
    until(lambda: kept.pid > 0 and health.answers(kept.base_url), 60)
    assert kept.ask() == 200


def test_after_a_stop_none_is_started(kept: Kept) -> None:
    kept.keeper.stop()
    until(lambda: not _runs(kept.first))
    assert kept.said == []


@pytest.mark.parametrize("path", ["/readyz"])
def test_readiness_says_that_it_is_away(make_app: MakeApp, path: str) -> None:
    app: Flask = make_app(MODEL="smollm2-135m-instruct")
    assert app.test_client().get(path).status_code == 200  # no address: no embedded one
    model = EmbeddedModel().start()
    settings = {"MODEL": "smollm2-135m-instruct"}
    app = make_app(**settings, OPENAI_BASE_URL=model.base_url)
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.json["checks"]["model"]) == (200, "ok")  # type: ignore[index]  # JSON
    os.kill(model.pid, signal.SIGKILL)
    until(lambda: not _runs(model.pid))
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.json["checks"]["model"]) == (503, "away")  # type: ignore[index]  # JSON
    model.stop()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
