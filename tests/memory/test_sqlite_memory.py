"""Tests of the memory in a SQLite file beyond what every memory must do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from webapp.errors import ConfigurationError, StorageUnavailable
from webapp.memory import InMemory, SQLiteMemory
from webapp.memory.capacity import fit
from webapp.memory.history.store import history
from webapp.messages import Message, ToolCall
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store as tenants

CALL_IDS = ("c1", "c2")
USERS = ("", "alice", "bob")
SESSIONS = ("default", "work")

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
one_message = st.one_of(
    st.builds(Message.system, text),
    st.builds(Message.user, text),
    st.builds(Message.assistant, text),
    st.sampled_from(CALL_IDS).map(
        lambda name: Message.assistant("", tool_calls=(ToolCall(name, "f", "{}"),))
    ),
    st.sampled_from(CALL_IDS).map(lambda name: Message.tool("r", tool_call_id=name)),
)
added = st.lists(one_message, max_size=8)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('db')}/memory.db")
    database.upgrade()
    yield database
    database.close()


class _Undo(Exception):
    """Ends a unit of work without keeping it, so that examples do not see each other."""


def rows_match_counters(connection: Connection) -> None:
    """The counters of sessions and tenants are what a count of the rows gives."""
    wrong = connection.execute("""
        SELECT 'session', id FROM sessions
        WHERE message_count <> (SELECT COUNT(*) FROM messages WHERE session = sessions.id)
        UNION ALL SELECT 'seq', id FROM sessions
        WHERE last_seq < (SELECT MAX(seq) FROM messages WHERE session = sessions.id)
        UNION ALL SELECT 'tenant', id FROM tenants
        WHERE message_count <> (
            SELECT COALESCE(SUM(message_count), 0) FROM sessions WHERE tenant_id = tenants.id
        )
    """).fetchall()
    assert wrong == []


@given(st.lists(added, max_size=12), st.integers(1, 12))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_are_cut_as_the_rule_cuts_messages(
    database: Database, adds: list[list[Message]], cap: int
) -> None:
    def work(connection: Connection) -> None:
        tenant = tenants.ensure(connection, "alice", 0)
        expected: tuple[Message, ...] = ()
        for messages in adds:
            expected = fit((*expected, *messages), cap)
            growth = store_messages(connection, tenant, "default", messages, cap, 0)
            size = growth.size if growth else None
            assert size == len(expected)
            assert tuple(history(connection, tenant, "default", None)) == expected
        rows_match_counters(connection)
        raise _Undo

    with pytest.raises(_Undo):
        database.write(work)


@given(st.lists(added, max_size=8), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_cap_that_was_lowered_cuts_what_was_kept_before(
    database: Database, adds: list[list[Message]], cap: int, lower: int
) -> None:
    def work(connection: Connection) -> None:
        tenant = tenants.ensure(connection, "alice", 0)
        said: tuple[Message, ...] = ()
        for messages in adds:
            said = fit((*said, *messages), 10_000)
            store_messages(connection, tenant, "default", messages, 0, 0)
        assert tuple(history(connection, tenant, "default", None)) == said
        question = Message.user("?")
        for now in (cap, min(cap, lower)):
            said = fit((*said, question), now)
            store_messages(connection, tenant, "default", [question], now, 0)
            assert tuple(history(connection, tenant, "default", None)) == said
        rows_match_counters(connection)
        raise _Undo

    with pytest.raises(_Undo):
        database.write(work)


@given(st.lists(added, max_size=8), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_newest_turns_are_enough_for_the_next_one(
    database: Database, adds: list[list[Message]], newest: int, cap: int
) -> None:
    """What `history` leaves out would never have reached the model."""
    cap = min(cap, newest)

    def work(connection: Connection) -> None:
        tenant = tenants.ensure(connection, "alice", 0)
        for messages in adds:
            store_messages(connection, tenant, "default", messages, 0, 0)
        whole = history(connection, tenant, "default", None)
        read = history(connection, tenant, "default", newest)
        turn = [Message.user("?")]
        last = [index for index, message in enumerate(whole) if message.role == "user"]
        size = sum(message.role != "system" for message in whole[last[-1] if last else 0 :])
        assert fit(read, cap) == fit(whole, cap)
        if size <= newest:
            assert fit([*read, *turn], cap) == fit([*whole, *turn], cap)
        assert len(read) <= 2 * newest
        raise _Undo

    with pytest.raises(_Undo):
        database.write(work)


def test_it_behaves_as_the_memory_in_the_process_does(database: Database) -> None:
    class Twins(RuleBasedStateMachine):
        @initialize(cap=st.integers(1, 8))
        def begin(self, cap: int) -> None:
            self.model = InMemory(max_size=cap)
            self.real = SQLiteMemory(database, max_size=cap)
            self.real.clear_all()

        @rule(messages=added, user=st.sampled_from(USERS), session=st.sampled_from(SESSIONS))
        def add(self, messages: list[Message], user: str, session: str) -> None:
            for memory in (self.model, self.real):
                memory.add(*messages, user_id=user, session_id=session)
            for other_user in USERS:
                for other in SESSIONS:
                    expected = self.model.get_messages(other_user, other)
                    assert self.real.get_messages(other_user, other) == expected
                    assert self.real.size(other_user, other) == len(expected)

        @rule(user=st.sampled_from(USERS))
        def clear(self, user: str) -> None:
            assert self.real.clear(user) == self.model.clear(user)

        @rule()
        def clear_all(self) -> None:
            assert self.real.clear_all() == self.model.clear_all()

        def teardown(self) -> None:
            with database.read() as connection:
                rows_match_counters(connection)

    run_state_machine_as_test(
        Twins,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_messages_are_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.db"
    first = SQLiteMemory(path)
    said = [Message.user("My name is Alice"), Message.assistant("Hi Alice!")]
    first.add(*said, user_id="alice")
    first.close()
    again = SQLiteMemory(str(path))
    assert again.get_messages("alice") == said
    again.close()


def test_reading_and_clearing_make_no_tenant(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/memory.db")
    database.upgrade()
    memory = SQLiteMemory(database)
    memory.get_messages("mallory")
    memory.size("mallory")
    memory.clear("mallory")
    memory.clear_all()
    memory.add(user_id="mallory")
    with database.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM tenants").fetchone()[0] == 0
    memory.add(Message.user("hello"), user_id="alice")
    with database.read() as connection:
        found = connection.execute("SELECT user_id, message_count FROM tenants").fetchall()
    assert found == [("alice", 1)]
    database.close()


class _StandingClock:
    def __init__(self) -> None:
        self.ms = 1000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


def test_a_user_of_the_python_api_counts_as_active(database: Database) -> None:
    clock = _StandingClock()
    memory = SQLiteMemory(database, clock=clock)
    for clock.ms in (1000, 5000, 3000):
        memory.add(Message.user("hello"), user_id="carol")
    with database.read() as connection:
        found = connection.execute(
            "SELECT created_at, last_active_at FROM tenants WHERE user_id = 'carol'"
        ).fetchall()
    assert found == [(1000, 5000)]


@pytest.mark.parametrize("cap", [0, -5])
def test_a_cap_of_zero_keeps_all(tmp_path: Path, cap: int) -> None:
    memory = SQLiteMemory(tmp_path / "memory.db", max_size=cap)
    memory.add(*(Message.user(str(index)) for index in range(300)))
    assert memory.size() == 300
    assert memory.get_messages()[0].content == "0"
    memory.close()


def test_a_database_that_is_handed_in_is_not_closed(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/memory.db")
    database.upgrade()
    memory = SQLiteMemory(database)
    memory.add(Message.user("hello"))
    memory.close()
    assert memory.size() == 1
    database.close()


def test_a_name_that_is_not_a_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must name a file"):
        SQLiteMemory(":memory:")
    with pytest.raises(StorageUnavailable):
        SQLiteMemory(tmp_path)


WRITER = """
import sys
from webapp.memory import SQLiteMemory
from webapp.messages import Message
memory = SQLiteMemory(sys.argv[1], max_size=1000)
for index in range(60):
    for user in ("alice", "bob", ""):
        text = f"{sys.argv[2]}.{index}"
        memory.add(Message.user(text), Message.assistant(text), user_id=user)
"""


def test_two_processes_on_one_file_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name], stderr=subprocess.PIPE)
        for name in ("first", "second")
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors.decode()
    memory = SQLiteMemory(path)
    for user in USERS:
        messages = memory.get_messages(user)
        pairs = list(zip(messages[::2], messages[1::2], strict=True))
        assert all(question.content == answer.content for question, answer in pairs)
        for name in ("first", "second"):
            own = [question.content for question, _ in pairs if question.content.startswith(name)]
            assert own == [f"{name}.{index}" for index in range(60)]
    memory.close()


def test_a_url_names_the_same_file_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    first, second = SQLiteMemory(path), SQLiteMemory(f"sqlite:///{path}")
    first.add(Message.user("Hello"), user_id="alice")
    assert second.size("alice") == 1
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("given", "size", "sentence"),
    [
        (4, 100, "is given the path of a file"),
        (None, 100, "is given the path of a file"),
        (":memory:", 100, r"there is InMemory\(\)"),
        ("sqlite:///:memory:", 100, r"there is InMemory\(\)"),
        ("", 100, "must name a file"),
        ("chats.db", "9", "max_size is a whole number, not str"),
        ("chats.db", None, "max_size is a whole number, not NoneType"),
    ],
)
def test_what_is_no_file_or_no_size_is_one_sentence(given: Any, size: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ConfigurationError), match=sentence):
        SQLiteMemory(given, size)
