"""One rule says which text can be stored, and every way in follows it."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import services_of
from tests.fakes import FakeModel
from webapp.agent import Agent
from webapp.agent.model import ModelReply
from webapp.errors import InvalidInput
from webapp.memory import InMemory
from webapp.messages import Message
from webapp.storable import holds_storable, is_storable, storable
from webapp.tenant_data.transfer.reading import read_export

BAD = ("\0", "a\0", "\ud800", "a\udfffé", "é\0")


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_stored_is_told_and_mended(text: str) -> None:
    assert not is_storable(text)
    assert is_storable(storable(text))
    assert "\ufffd" in storable(text)


@pytest.mark.parametrize("text", ["", "a", "é", "\U0001f600", "\ufffd", "\x01\n\x7f\u200b"])
def test_anything_else_is_left_as_it_is(text: str) -> None:
    assert is_storable(text)
    assert storable(text) == text


def test_a_value_is_looked_through() -> None:
    assert holds_storable({"a": ["b", {"c": None, "d": 1.5, "e": True}]})
    for bad in BAD:
        assert not holds_storable({"a": [{"c": [bad]}]})
        assert not holds_storable({"a": {bad: 1}})


@pytest.mark.parametrize("text", BAD)
def test_a_message_is_refused_at_every_door(app: Flask, text: str) -> None:
    asked = {"user_id": "alice", "message": text}
    assert app.test_client().post("/chat", json=asked).status_code == 400
    memory = InMemory()
    agent = Agent(name="a", model=FakeModel(), memory=memory)
    with pytest.raises(InvalidInput):
        agent.run(f"hello {text}", user_id="alice")
    with pytest.raises(InvalidInput):
        memory.add(Message.user(text), user_id="alice")
    assert memory.size("alice") == 0
    assert services_of(app).directory.find("alice") is None


@pytest.mark.parametrize("text", BAD)
def test_what_a_model_says_is_mended_before_it_is_kept(text: str) -> None:
    memory = InMemory()
    model = FakeModel.of(ModelReply(f"so {text}"))
    output = Agent(name="a", model=model, memory=memory).run("hello", user_id="alice")
    assert is_storable(output.content)
    assert memory.get_messages("alice")[-1].content == output.content


def test_an_import_is_refused_whichever_way_half_a_pair_is_written() -> None:
    head = b'{"type": "switchboard-tenant", "version": 2}\n'
    for half in (b"\\ud800", b"\xed\xa0\x80", b"\\u0000"):
        with pytest.raises(InvalidInput, match=r"Line 2 .* NUL or half a surrogate pair"):
            list(read_export([head, b'{"type": "tenant", "user_id": "' + half + b'"}\n']))
