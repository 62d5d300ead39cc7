"""Closing: all that an application holds goes when its services are closed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.conftest import settings_for
from tests.fakes import until
from tests.upstream import saying, upstream
from webapp.agent import Agent, OpenAIModel
from webapp.errors import StorageUnavailable
from webapp.housekeeping import start_housekeeping
from webapp.services import build_services
from webapp.turns import LocalTurnQueue


def chores() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "housekeeping"]


def test_services_close_their_connections_and_end_their_chores(tmp_path: Path) -> None:
    with upstream(lambda _body: saying("hello")) as server:
        loaded = settings_for(
            tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="k", MODEL="m"
        )
        services = build_services(loaded)
        services.upgrade_database()
        start_housekeeping(services)
        assert len(chores()) == 1
        with services.database.read() as connection:
            agent = services.configurations.agent(connection)
        assert agent.run("hi", user_id="alice").content == "hello"
        until(lambda: server.open_connections == 1)
        services.close()
        until(lambda: server.open_connections == 0)
        until(lambda: not chores())
        assert not Path(f"{tmp_path / 'switchboard.db'}-wal").exists()
        services.close()


def test_what_can_be_closed_is_closed_when_a_part_cannot(tmp_path: Path) -> None:
    class BrokenQueue(LocalTurnQueue):
        def close(self) -> None:
            raise StorageUnavailable("No.")

    services = build_services(settings_for(tmp_path))
    services.upgrade_database()
    services.chat._queue = BrokenQueue()
    with pytest.raises(StorageUnavailable):
        services.close()
    assert services.closed.is_set()
    assert not Path(f"{tmp_path / 'switchboard.db'}-wal").exists()


def test_an_agent_closes_the_model_that_it_made_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream(lambda _body: saying("hello")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        with Agent(name="assistant", model="m") as agent:
            assert agent.run("hi", user_id="alice").content == "hello"
            until(lambda: server.open_connections == 1)
        until(lambda: server.open_connections == 0)
        agent.close()


def test_an_agent_leaves_a_model_that_it_was_given_to_its_owner() -> None:
    with (
        upstream(lambda _body: saying("hello")) as server,
        OpenAIModel("m", api_key="k", base_url=server.base_url) as model,
    ):
        for _ in range(2):
            with Agent(name="assistant", model=model) as agent:
                assert agent.run("hi", user_id="alice").content == "hello"
        assert server.open_connections == 1
