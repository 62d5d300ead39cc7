"""A served tool that asks for a turn of the user it works for, whole and streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, calls
from webapp import create_app
from webapp.agent import Toolkit
from webapp.chat.values import ChatTurn
from webapp.errors import TurnUnderWay


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("times", [1, 3])
def test_a_served_tool_that_runs_its_own_user_is_told_so(
    tmp_path: Path, stream: bool, times: int
) -> None:
    caught: list[str] = []
    apps: list[Flask] = []

    def ask_again() -> str:
        turn = ChatTurn("alice", "and this?", "req-inner", started=0.0)
        try:
            return services_of(apps[0]).chat.reply(turn).reply
        except TurnUnderWay as error:
            caught.append(error.code)
            raise

    model = FakeModel.of(calls(*[("ask_again", {})] * times), "done")
    app = create_app(
        settings_for(tmp_path),
        model=model,
        toolkits=[Toolkit("own", [ask_again])],
    )
    apps.append(app)
    services_of(app).database.upgrade()
    client = app.test_client()
    with client.post(
        "/chat", json={"user_id": "alice", "message": "ask", "stream": stream}
    ) as answer:
        text = answer.get_data(as_text=True)
    reply = json.loads(text.rpartition("event: done\ndata: ")[2] if stream else text)["reply"]
    assert (reply, len(caught)) == ("done", times)
    results = [m.content for m in model.seen[1] if m.role == "tool"]
    assert all("another turn of the same user" in result for result in results)
    services_of(app).database.close()
