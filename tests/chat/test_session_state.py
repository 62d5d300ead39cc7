"""A session's state in turns of the server: stored with the turn's messages, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import services_of, settings_for
from tests.fakes import FakeModel, calls, said
from webapp import create_app
from webapp.agent import ModelReply, ModelRequest, RunContext, TextDelta, Toolkit
from webapp.chat.service import ChatService
from webapp.chat.values import ChatTurn
from webapp.errors import ModelError, StateConflict
from webapp.memory import PostgresMemory, SQLiteMemory
from webapp.memory.stored import StoredMemory
from webapp.services import Services


def count(context: RunContext) -> str:
    """Count on."""
    return str(context.state.change("count", lambda n: n + 1, 0))


def put(key: str, value: str, context: RunContext) -> str:
    """Put something under a key."""
    context.state[key] = value
    return "put"


class Meanwhile:
    """A tool that does what the test wants done while a turn is running."""

    do: Callable[[], object] = staticmethod(lambda: None)

    def __call__(self) -> str:
        self.do()
        return "done"


def answers(request: ModelRequest) -> ModelReply:
    """Calls the tools that the question names, then in a second answer those behind `then`, and
    says what they gave. With `fail` in the question it fails instead."""
    last = request.messages[-1]
    question = next(m.content for m in reversed(request.messages) if m.role == "user")
    first, _, second = question.partition(" then ")
    wanted = first
    if last.role == "tool":
        wanted = second if last.content != "done" else ""
        if "fail" in question:
            raise ModelError("The model's server failed.")
    wishes: list[tuple[str, dict[str, Any]]] = []
    for word in wanted.split():
        name, _, rest = word.partition(":")
        key, _, value = rest.partition("=")
        if name in ("count", "put", "meanwhile"):
            wishes.append((name, {"key": key, "value": value} if rest else {}))
    return calls(*wishes) if wishes else said(last.content)


@pytest.fixture
def meanwhile() -> Meanwhile:
    return Meanwhile()


@pytest.fixture
def services(tmp_path: Any, database_url: str, meanwhile: Meanwhile) -> Iterator[Services]:
    def held() -> str:
        """Do what the test wants."""
        return meanwhile()

    held.__name__ = "meanwhile"
    app = create_app(
        settings_for(
            tmp_path, DATABASE_URL=database_url, STATE_MAX_BYTES="400", TENANT_QUEUE="100"
        ),
        model=FakeModel(otherwise=answers),
        toolkits=[Toolkit("own", [count, put, held])],
    )
    made = services_of(app)
    made.upgrade_database()
    yield made
    made.close()


@pytest.fixture
def chat(services: Services) -> ChatService:
    return services.chat


@pytest.fixture
def memory(services: Services, database_url: str) -> StoredMemory:
    """Reads and writes the same rows from outside of any turn."""
    kind = SQLiteMemory if database_url.startswith("sqlite") else PostgresMemory
    return kind(services.database, user_ids=services.user_ids)


def turn(message: str, session: str = "default", user: str = "alice") -> ChatTurn:
    return ChatTurn(user, message, "req-1", time.monotonic(), session_id=session)


def test_what_one_turn_sets_the_next_one_finds_and_other_sessions_do_not(
    chat: ChatService, memory: StoredMemory
) -> None:
    assert [chat.reply(turn("count")).reply for _ in range(3)] == ["1", "2", "3"]
    assert chat.reply(turn("count", "other")).reply == "1"
    assert chat.reply(turn("count", user="bob")).reply == "1"
    assert memory.get_state("alice") == {"count": 3}


def test_the_calls_of_one_answer_share_the_state(chat: ChatService, memory: StoredMemory) -> None:
    chat.reply(turn("count count put:a=1 count put:b=2 count count"))
    assert memory.get_state("alice") == {"count": 5, "a": "1", "b": "2"}


def test_turns_at_once_of_one_session_lose_nothing(chat: ChatService, memory: StoredMemory) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: chat.reply(turn(f"count put:k{n}=x")), range(20)))
    assert memory.get_state("alice") == {"count": 20, **{f"k{n}": "x" for n in range(20)}}


@pytest.mark.parametrize("message", ["count fail", "count put:k=x fail"])
def test_a_turn_that_fails_changes_nothing(
    chat: ChatService, memory: StoredMemory, message: str
) -> None:
    chat.reply(turn("count"))
    with pytest.raises(ModelError):
        chat.reply(turn(message))
    assert memory.get_state("alice") == {"count": 1}


def test_a_turn_whose_client_hangs_up_changes_nothing(
    chat: ChatService, memory: StoredMemory
) -> None:
    with closing(chat.stream(turn("count"))) as events:
        assert any(isinstance(event, TextDelta) for event in events)
    assert memory.get_state("alice") == {}
    assert memory.get_messages("alice") == []


def test_another_s_key_stays_and_both_are_there(
    chat: ChatService, memory: StoredMemory, meanwhile: Meanwhile
) -> None:
    chat.reply(turn("count"))
    meanwhile.do = lambda: memory.set_state({"count": 1, "theirs": [1]}, "alice")
    chat.reply(turn("count meanwhile"))
    assert memory.get_state("alice") == {"count": 2, "theirs": [1]}


def test_a_turn_that_counts_on_what_another_has_changed_fails_whole(
    chat: ChatService, memory: StoredMemory, meanwhile: Meanwhile
) -> None:
    chat.reply(turn("count"))
    meanwhile.do = lambda: memory.set_state({"count": 10}, "alice")
    with pytest.raises(StateConflict) as refused:
        chat.reply(turn("count then meanwhile"))
    assert refused.value.status == 409
    assert memory.get_state("alice") == {"count": 10}
    assert memory.size("alice") == 4


def test_a_state_that_grows_too_large_is_told_to_the_model(
    chat: ChatService, memory: StoredMemory
) -> None:
    reply = chat.reply(turn(f"put:k={'x' * 500}")).reply
    assert reply == "Error: put failed: The state would be larger than 400 bytes of JSON."
    assert memory.get_state("alice") == {}
    assert memory.size("alice") == 4


def test_a_plain_turn_does_not_look_at_the_state(
    chat: ChatService, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.memory.states.store.find", None)
    monkeypatch.setattr("webapp.memory.states.store.replace", None)
    assert chat.reply(turn("hello")).reply == "hello"
