"""What every Memory must do: one suite for all implementations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import HandClock
from webapp.errors import InvalidInput, InvalidState, StateConflict
from webapp.memory import (
    InMemory,
    Memory,
    MemorySession,
    MemoryUser,
    PostgresMemory,
    SQLiteMemory,
    StatefulMemory,
)
from webapp.messages import Message, ToolCall
from webapp.session_state import MAX_BYTES, StateChanges

CALL = ToolCall("call-1", "add", '{"a":5,"b":3}')


@dataclass(frozen=True)
class Backend:
    """How the suite makes one kind of memory; `path` is a fresh directory."""

    name: str
    make: Callable[[Path, int, HandClock], Memory]


BACKENDS = (
    Backend("in_memory", lambda _path, cap, clock: InMemory(max_size=cap, clock=clock)),
    Backend(
        "sqlite",
        lambda path, cap, clock: SQLiteMemory(path / f"cap-{cap}.db", max_size=cap, clock=clock),
    ),
)

Make = Callable[[int], Memory]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=(*BACKENDS, "postgres"), ids=lambda one: str(getattr(one, "name", one)))
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> Iterator[Make]:
    """Makes a memory with the cap that is asked for."""
    made: list[Any] = []
    kind: Backend = request.param
    if request.param == "postgres":
        url = request.getfixturevalue("emptied_postgres")()
        kind = Backend(
            "postgres", lambda _path, cap, clock: PostgresMemory(url, max_size=cap, clock=clock)
        )

    def of(cap: int) -> Memory:
        memory = kind.make(tmp_path, cap, clock)
        made.append(memory)
        return memory

    yield of
    for memory in made:
        if hasattr(memory, "close"):
            memory.close()


@pytest.fixture
def memory(make: Make) -> Memory:
    return make(10)


def short(messages: list[Message]) -> list[str]:
    return [f"{message.role[0].upper()}:{message.content}" for message in messages]


def test_it_is_a_memory(memory: Memory) -> None:
    assert isinstance(memory, Memory)


def test_a_message_without_a_user_is_the_default_users(memory: Memory) -> None:
    hello = Message.user("hello")
    memory.add(hello)
    assert memory.size() == 1
    assert memory.get_messages() == [hello]
    assert memory.get_messages("default") == [hello]


def test_over_the_cap_the_system_message_and_the_newest_turns_stay(make: Make) -> None:
    memory = make(5)
    memory.add(Message.system("system"))
    for index in range(10):
        memory.add(Message.user(f"m{index}"))
    assert short(memory.get_messages()) == ["S:system", "U:m6", "U:m7", "U:m8", "U:m9"]


def test_clear_leaves_nothing(memory: Memory) -> None:
    memory.add(Message.user("one"))
    memory.add(Message.user("two"))
    assert memory.clear() == 2
    assert memory.size() == 0
    assert memory.get_messages() == []
    assert memory.clear() == 0


def test_what_was_added_and_what_is_returned_cannot_change_the_store(memory: Memory) -> None:
    added = Message.user("original")
    memory.add(added)
    for message in (added, memory.get_messages()[0]):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            message.content = "changed"  # type: ignore[misc]
    memory.get_messages().clear()
    assert short(memory.get_messages()) == ["U:original"]


def test_each_user_has_its_own_messages(memory: Memory) -> None:
    for user in ("alice", "bob"):
        memory.add(Message.user(f"I am {user}"), Message.assistant(f"Hi {user}"), user_id=user)
    assert short(memory.get_messages("alice")) == ["U:I am alice", "A:Hi alice"]
    assert short(memory.get_messages(user_id="bob")) == ["U:I am bob", "A:Hi bob"]


def test_clearing_the_default_user_leaves_the_others(memory: Memory) -> None:
    memory.add(Message.user("a"), Message.assistant("b"))
    memory.add(Message.user("c"), user_id="alice")
    assert memory.clear() == 2
    assert (memory.size(), memory.size("alice")) == (0, 1)


@pytest.mark.parametrize("name", ["", "default"])
def test_empty_absent_and_default_are_one_user(memory: Memory, name: str) -> None:
    memory.add(Message.user("a"))
    memory.add(Message.user("b"), user_id=name)
    assert short(memory.get_messages(name)) == ["U:a", "U:b"]
    assert memory.size(user_id=name) == memory.size() == 2
    assert memory.clear(name) == 2


def test_clear_all_empties_every_user(memory: Memory) -> None:
    for user in ("", "alice", "bob"):
        memory.add(Message.user("a"), Message.assistant("b"), user_id=user)
    assert memory.clear_all() == 6
    assert [memory.size(user) for user in ("", "alice", "bob")] == [0, 0, 0]
    assert memory.clear_all() == 0


def test_the_cap_is_each_users_own(make: Make) -> None:
    memory = make(3)
    memory.add(Message.system("S"), user_id="alice")
    for index in range(5):
        memory.add(Message.user(f"m{index}"), user_id="alice")
    memory.add(Message.user("only"), user_id="bob")
    assert short(memory.get_messages("alice")) == ["S:S", "U:m3", "U:m4"]
    assert memory.size("bob") == 1


def test_messages_without_an_id_get_unique_ones_that_are_kept(memory: Memory) -> None:
    added = [Message.user(str(index)) for index in range(10)]
    memory.add(*added)
    ids = [message.id for message in memory.get_messages()]
    assert ids == [message.id for message in added]
    assert len(set(ids)) == 10
    assert all(name.startswith("msg-") for name in ids)


def test_ten_and_five_messages_of_two_users_do_not_mix(make: Make) -> None:
    memory = make(100)
    for index in range(10):
        memory.add(Message.user(f"User A message {index}"), user_id="user-a")
    for index in range(5):
        memory.add(Message.user(f"User B message {index}"), user_id="user-b")
    assert [memory.size(user) for user in ("user-a", "user-b", "user-c")] == [10, 5, 0]
    assert not any("User B" in message.content for message in memory.get_messages("user-a"))


def test_concurrent_adds_of_many_users_lose_nothing(make: Make) -> None:
    memory = make(100)
    users = [f"user-{index}" for index in range(10)]
    start = threading.Barrier(len(users))

    def talk(user: str) -> None:
        start.wait()
        for index in range(100):
            memory.add(Message.user(f"{user} {index}"), user_id=user)

    threads = [threading.Thread(target=talk, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in users:
        contents = [message.content for message in memory.get_messages(user)]
        assert contents == [f"{user} {index}" for index in range(100)]


def test_concurrent_adds_of_one_user_keep_each_add_together(make: Make) -> None:
    memory = make(100)

    def talk(name: int) -> None:
        for index in range(5):
            memory.add(Message.user(f"{name}.{index}"), Message.assistant(f"{name}.{index}"))

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = memory.get_messages()
    assert len(messages) == 100
    for question, answer in zip(messages[::2], messages[1::2], strict=True):
        assert (question.role, answer.role) == ("user", "assistant")
        assert question.content == answer.content


def test_one_by_one_the_oldest_goes(make: Make) -> None:
    memory = make(3)
    seen = []
    for index in range(5):
        memory.add(Message.user(f"m{index}"))
        seen.append(",".join(message.content for message in memory.get_messages()))
    assert seen == ["m0", "m0,m1", "m0,m1,m2", "m1,m2,m3", "m2,m3,m4"]


def test_whole_turns_go(make: Make) -> None:
    memory = make(4)
    memory.add(Message.system("S"))
    for index, expected in enumerate(
        (["S:S", "U:u0", "A:a0"], ["S:S", "U:u1", "A:a1"], ["S:S", "U:u2", "A:a2"])
    ):
        memory.add(Message.user(f"u{index}"), Message.assistant(f"a{index}"))
        assert short(memory.get_messages()) == expected


def test_a_turn_with_tools_goes_whole(make: Make) -> None:
    memory = make(5)
    memory.add(
        Message.user("u0"),
        Message.assistant("", tool_calls=(CALL,)),
        Message.tool("8", tool_call_id="call-1"),
        Message.assistant("a0"),
    )
    memory.add(Message.user("u1"), Message.assistant("a1"))
    assert short(memory.get_messages()) == ["U:u1", "A:a1"]


@pytest.mark.parametrize(("cap", "kept"), [(1, ["U:u"]), (2, ["U:u", "A:a"]), (3, ["U:u", "A:a"])])
def test_a_turn_larger_than_the_cap_keeps_question_and_answer(
    make: Make, cap: int, kept: list[str]
) -> None:
    memory = make(cap)
    memory.add(Message.user("before"))
    memory.add(
        Message.user("u"),
        Message.assistant("", tool_calls=(CALL,)),
        Message.tool("8", tool_call_id="call-1"),
        Message.assistant("a"),
    )
    assert short(memory.get_messages()) == kept
    assert memory.size() == len(kept)


def test_a_tool_message_without_its_call_is_not_stored(memory: Memory) -> None:
    memory.add(Message.user("u0"), Message.assistant("", tool_calls=(CALL,)))
    memory.add(Message.tool("8", tool_call_id="call-1"), Message.tool("?", tool_call_id="other"))
    memory.add(Message.user("u1"), Message.tool("late", tool_call_id="call-1"))
    assert short(memory.get_messages()) == ["U:u0", "A:", "T:8", "U:u1"]


def test_a_system_message_stays_where_it_was_said_until_the_cap_moves_it(make: Make) -> None:
    memory = make(4)
    memory.add(Message.user("u0"), Message.system("S"), Message.user("u1"))
    assert short(memory.get_messages()) == ["U:u0", "S:S", "U:u1"]
    memory.add(Message.user("u2"))
    memory.add(Message.user("u3"))
    assert short(memory.get_messages()) == ["S:S", "U:u1", "U:u2", "U:u3"]
    memory.add(Message.user("u4"))
    assert short(memory.get_messages()) == ["S:S", "U:u2", "U:u3", "U:u4"]


def test_an_unknown_user_has_nothing_and_stays_unknown(memory: Memory) -> None:
    assert memory.get_messages("mallory") == []
    assert memory.size("mallory") == 0
    assert memory.clear("mallory") == 0


def test_sessions_of_a_user_are_apart_and_cleared_together(memory: Memory) -> None:
    memory.add(Message.user("work"), user_id="alice", session_id="work")
    memory.add(Message.user("home"), Message.assistant("hi"), user_id="alice")
    assert short(memory.get_messages("alice", "work")) == ["U:work"]
    assert memory.size("alice", session_id="work") == 1
    assert memory.size("alice") == 2
    assert memory.get_messages("bob", "work") == []
    assert memory.clear("alice") == 3
    assert memory.size("alice", "work") == 0


def test_the_sessions_of_a_user_are_listed_and_cleared_one_by_one(
    memory: Memory, clock: HandClock
) -> None:
    memory.add(*[Message.user("Where is my invoice?"), Message.assistant("Here.")], user_id="alice")
    clock.advance(1)
    memory.add(Message.user("at work"), user_id="alice", session_id="work")
    memory.add(Message.user("bob's own"), user_id="bob", session_id="work")
    now = clock.now_ms()
    assert list(memory.sessions("alice")) == [
        MemorySession("default", "Where is my invoice?", 2, now - 1000),
        MemorySession("work", "at work", 1, now),
    ]
    assert list(memory.sessions("mallory")) == []
    assert memory.clear("alice", "default") == 2
    assert memory.clear("alice", "default") == memory.clear("alice", "unknown") == 0
    assert [one.session_id for one in memory.sessions("alice")] == ["work"]
    assert memory.get_messages("alice") == []
    assert short(memory.get_messages("alice", "work")) == ["U:at work"]
    assert short(memory.get_messages("bob", "work")) == ["U:bob's own"]
    assert [(one.user_id, one.message_count) for one in memory.users()] == [
        ("alice", 1),
        ("bob", 1),
    ]
    memory.add(Message.user("anew"), user_id="alice")
    assert [(one.session_id, one.title) for one in memory.sessions("alice")] == [
        ("default", "anew"),
        ("work", "at work"),
    ]
    assert memory.clear("bob", session_id="work") == 1
    assert [one.user_id for one in memory.users()] == ["alice"]
    with pytest.raises(InvalidInput):
        memory.clear("alice", "")


def test_after_a_clear_the_conversation_begins_anew(memory: Memory) -> None:
    memory.add(Message.user("old"), user_id="alice")
    memory.clear("alice")
    memory.add(Message.user("new"), user_id="alice")
    assert short(memory.get_messages("alice")) == ["U:new"]
    assert memory.size("alice") == 1


def test_adding_nothing_changes_nothing(memory: Memory) -> None:
    memory.add(user_id="alice")
    assert memory.size("alice") == 0


def test_every_field_of_a_message_comes_back(memory: Memory) -> None:
    added = [
        Message("user", "q", id="msg-mine", created_at_ms=1),
        Message("assistant", "", tool_calls=(CALL, ToolCall("call-2", "naïve ☃", "not json"))),
        Message("tool", "8", tool_call_id="call-2"),
    ]
    memory.add(*added)
    assert memory.get_messages() == added


@pytest.mark.parametrize(
    "text",
    [
        "",
        "👩‍👩‍👧 family",
        "שלום עולם \u200fمرحبا",
        "line\r\nline\u2028\u200b\ufeff",
        "'; DROP TABLE messages; --",
        "x" * 1_000_000,
        "\U0010ffff" * 1000,
    ],
    ids=lambda text: ascii(text)[:12],
)
def test_any_text_comes_back_unchanged(memory: Memory, text: str) -> None:
    memory.add(Message.user(text))
    assert memory.get_messages()[0].content == text


def test_what_no_database_takes_is_refused_and_nothing_is_stored(memory: Memory) -> None:
    for bad in (
        Message.assistant("\ud83d"),
        Message.assistant("", tool_calls=(ToolCall("id", "name", "\udc00"),)),
        Message("assistant", "", id="\ud800"),
        Message.assistant("a\x00b"),
        Message("tool", "8", tool_call_id="\0"),
    ):
        with pytest.raises(InvalidInput, match="surrogate"):
            memory.add(Message.user("hello"), bad, user_id="alice")
    assert memory.size("alice") == 0


@pytest.mark.parametrize("user", ["👩‍👩‍👧", "أليس", "org:1 dept:2", "Alice", "alice", "x" * 255])
def test_ids_of_any_script_are_compared_exactly(memory: Memory, user: str) -> None:
    memory.add(Message.user("mine"), user_id=user)
    assert memory.size(user) == 1
    assert memory.size(user[:-1] + "!") == 0


@pytest.mark.parametrize("bad", ["x" * 256, "a/b", " alice", "a\nb", "..", "\ud83d"])
def test_an_id_that_cannot_be_one_is_refused(memory: Memory, bad: str) -> None:
    with pytest.raises(InvalidInput, match="user_id"):
        memory.add(Message.user("a"), user_id=bad)
    with pytest.raises(InvalidInput, match="user_id"):
        memory.get_messages(bad)
    with pytest.raises(InvalidInput, match="user_id"):
        memory.size(bad)
    with pytest.raises(InvalidInput, match="user_id"):
        memory.clear(bad)
    with pytest.raises(InvalidInput, match="session_id"):
        memory.add(Message.user("a"), session_id=bad)
    with pytest.raises(InvalidInput, match="session_id"):
        memory.get_messages(session_id=bad)


def test_what_is_not_a_message_is_refused(memory: Memory) -> None:
    with pytest.raises(TypeError, match="takes messages, not str"):
        memory.add("hello")  # type: ignore[arg-type]  # on purpose


def test_a_memory_says_who_is_in_it_and_when_each_was_last_active(
    memory: Memory, clock: HandClock
) -> None:
    clock.ms = 1_000_000
    memory.add(Message.user("a"), Message.assistant("b"), user_id="alice")
    memory.add(Message.user("a"), user_id="alice", session_id="work")
    memory.add(Message.user("c"))
    clock.advance(60)
    memory.add(Message.user("d"), user_id="👩‍👩‍👧")
    memory.add(Message.user("c"))
    assert list(memory.users()) == [
        MemoryUser("alice", 3, 1_000_000),
        MemoryUser("default", 2, 1_060_000),
        MemoryUser("👩‍👩‍👧", 1, 1_060_000),
    ]
    assert next(memory.users()).last_active_at == datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC)


def test_only_those_with_messages_are_in_a_memory(memory: Memory) -> None:
    assert list(memory.users()) == []
    for user in ("alice", "bob", "carol"):
        memory.add(Message.user("hello"), user_id=user)
    memory.clear("bob")
    memory.get_messages("mallory")
    memory.add(user_id="mallory")
    memory.add(Message.tool("late", tool_call_id="none"), user_id="mallory")
    assert [user.user_id for user in memory.users()] == ["alice", "carol"]
    memory.clear_all()
    assert list(memory.users()) == []


def test_users_are_read_as_they_are_asked_for(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.memory.stored.USERS_AT_ONCE", 10)
    for number in range(35):
        memory.add(Message.user("hello"), user_id=f"user-{number}")
    seen = []
    for user in memory.users():
        seen.append(user.user_id)
        memory.clear(user.user_id)
        if len(seen) == 3:
            memory.clear("user-5")
            memory.clear("user-31")
    assert len(seen) == len(set(seen))
    assert "user-31" not in seen
    assert len(seen) in (33, 34)
    assert list(memory.users()) == []


def test_the_inactive_are_cleared_and_nobody_else(
    memory: Memory, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.memory.stored.CLEARED_AT_ONCE", 10)
    for number in range(25):
        memory.add(Message.user("hello"), user_id=f"idle-{number}")
    memory.add(Message.user("hello"), user_id="alice")
    clock.advance(3600)
    memory.add(Message.user("hello"), user_id="bob")
    memory.add(Message.user("still here"), user_id="alice")
    assert memory.clear_inactive(timedelta(hours=2)) == 0
    assert memory.clear_inactive(timedelta(minutes=59)) == 25
    assert [(user.user_id, user.message_count) for user in memory.users()] == [
        ("alice", 2),
        ("bob", 1),
    ]
    assert memory.clear_inactive(timedelta(minutes=59)) == 0


@pytest.mark.parametrize("inactive_for", [timedelta(0), timedelta(days=-1), 3600, None])
def test_a_time_that_would_clear_everybody_is_refused(memory: Memory, inactive_for: Any) -> None:
    memory.add(Message.user("hello"), user_id="alice")
    with pytest.raises(InvalidInput, match="inactive_for"):
        memory.clear_inactive(inactive_for)
    assert memory.size("alice") == 1


# -- the state of sessions -------------------------------------------------------------------------


@pytest.fixture
def stateful(memory: Memory) -> StatefulMemory:
    assert isinstance(memory, StatefulMemory)
    return memory


def test_a_state_is_of_one_user_and_one_session(stateful: StatefulMemory) -> None:
    stateful.set_state({"a": 1, "n": 10**20}, "alice", "work")
    assert stateful.get_state("alice", "work") == {"a": 1, "n": 10**20}
    for other in (("bob", "work"), ("alice", "default"), ("", "work")):
        assert stateful.get_state(*other) == {}
    stateful.get_state("alice", "work")["a"] = 2
    stateful.update_state({"b": [1]}, "alice", "work")
    assert stateful.get_state("alice", "work") == {"a": 1, "n": 10**20, "b": [1]}
    stateful.set_state({}, "alice", "work")
    assert stateful.get_state("alice", "work") == {}


def test_reading_a_state_or_removing_none_makes_nobody_known(stateful: StatefulMemory) -> None:
    assert stateful.get_state("mallory") == {}
    stateful.set_state({}, "mallory")
    assert list(stateful.users()) == []


def test_a_clear_takes_the_messages_and_leaves_the_state(stateful: StatefulMemory) -> None:
    stateful.add(Message.user("hi"), user_id="alice")
    stateful.set_state({"a": 1}, "alice")
    assert stateful.clear("alice") == 1
    assert (stateful.get_state("alice"), list(stateful.users())) == ({"a": 1}, [])
    stateful.add(Message.user("again"), user_id="alice")
    assert stateful.clear_all() == 1
    assert (stateful.get_state("alice"), stateful.size("alice")) == ({"a": 1}, 0)


def test_changes_come_with_their_messages_or_not_at_all(stateful: StatefulMemory) -> None:
    changes = StateChanges({"count": "2"}, frozenset({"gone"}), {"count": "1"})
    stateful.set_state({"count": 1, "gone": 1, "kept": 1}, "alice")
    stateful.add(Message.user("one"), user_id="alice", state=changes)
    assert stateful.get_state("alice") == {"count": 2, "kept": 1}
    stateful.update_state({"count": 7}, "alice")
    with pytest.raises(StateConflict):
        stateful.add(Message.user("two"), user_id="alice", state=changes)
    assert stateful.get_state("alice") == {"count": 7, "kept": 1}
    assert short(stateful.get_messages("alice")) == ["U:one"]


def test_what_cannot_be_stored_is_refused_and_nothing_stored(stateful: StatefulMemory) -> None:
    stateful.set_state({"a": 1}, "alice")
    for bad in ({"b": object()}, {"b": "\0"}, {"b": "x" * MAX_BYTES}):
        with pytest.raises(InvalidState):
            stateful.set_state(bad, "alice")
        with pytest.raises(InvalidState):
            stateful.update_state(bad, "alice")
    assert stateful.get_state("alice") == {"a": 1}


def test_a_hundred_writers_of_a_new_session_lose_nothing(stateful: StatefulMemory) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: stateful.update_state({f"k{n}": n}, "alice"), range(100)))
    assert stateful.get_state("alice") == {f"k{n}": n for n in range(100)}
