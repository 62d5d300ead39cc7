"""Tests of a session's state as tools see it: a dict of JSON, its copies, bounds and changes."""

from __future__ import annotations

import enum
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from webapp.errors import InvalidState, StateConflict, StateTooLarge
from webapp.session_state import SessionState, StateChanges
from webapp.session_state.values import fields_of, size_of, values_of, write_fields


def stored(**values: Any) -> SessionState:
    """A state that was read from somewhere."""
    return SessionState(read=lambda: fields_of(values))


def changes_of(state: SessionState) -> StateChanges:
    changes = state.finish()
    assert changes is not None
    return changes


def after(state: SessionState, most: int = 1000, **now: Any) -> dict[str, Any]:
    """What is stored when the state `now` is what lies there by then."""
    return values_of(changes_of(state).apply(fields_of(now), most))


# -- a dict ----------------------------------------------------------------------------------------


def test_it_is_a_dict() -> None:
    state = SessionState()
    assert (len(state), list(state), state.copy(), bool(state)) == (0, [], {}, False)
    state.set("a", 1)
    state["b"] = [1, 2]
    state.update({"c": None}, d="text")
    assert state == {"a": 1, "b": [1, 2], "c": None, "d": "text"}
    assert ("c" in state, "x" in state) == (True, False)
    assert (state.get("x"), state.get("x", 7), state.get("c", 7)) == (None, 7, None)
    assert state.pop("a") == 1
    assert state.pop("a", 9) == 9
    state.delete("b")
    state.delete("b")
    del state["c"]
    assert state.setdefault("d", 1) == "text"
    assert state.setdefault("e", 1) == 1
    assert dict(state.items()) == {"d": "text", "e": 1}
    state.clear()
    assert state.copy() == {}
    for absent in (lambda: state["x"], lambda: state.pop("x"), lambda: state.__delitem__("x")):
        with pytest.raises(KeyError):
            absent()


def test_whole_numbers_stay_whole_and_others_stay_others() -> None:
    state = SessionState()
    numbers = [1, 1.0, True, 2**63, -(10**30), 0.1, -0.0]
    state["n"] = numbers
    assert [(type(n), n) for n in state["n"]] == [(type(n), n) for n in numbers]


def test_what_was_read_or_set_is_a_copy() -> None:
    cart = {"items": ["apple"]}
    state = SessionState()
    state["cart"] = cart
    cart["items"].append("set later")
    state["cart"]["items"].append("read out")
    state.copy()["cart"]["items"].append("copied")
    for value in state.values():
        value["items"].append("walked through")
    assert state.copy() == {"cart": {"items": ["apple"]}}


class Colour(enum.IntEnum):
    RED = 1


def test_what_json_has_a_form_for_is_taken_in_that_form() -> None:
    state = SessionState()
    state["all"] = [(1, 2), Colour.RED, {"": {"": []}}, "\N{GRINNING FACE}\u2028"]
    assert state["all"] == [[1, 2], 1, {"": {"": []}}, "\N{GRINNING FACE}\u2028"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


circle: list[Any] = []
circle.append(circle)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (datetime.now(UTC), "not datetime"),
        ({1, 2}, "not set"),
        (b"bytes", "not bytes"),
        (object(), "not object"),
        ({1: "a"}, "A key of the state is text, not int"),
        ({"deep": [{None: 1}]}, "not NoneType"),
        (float("nan"), "NaN"),
        ([float("inf")], "infinite"),
        ("a\0b", "NUL"),
        ({"\ud800": 1}, "surrogate"),
        (10**5000, "digits"),
        (nested(64), "nested deeper than 64"),
        (circle, "nested deeper than 64"),
    ],
    ids=lambda value: None if isinstance(value, str) else "value",
)
def test_what_is_not_json_is_refused_and_changes_nothing(value: Any, sentence: str) -> None:
    state = SessionState({"kept": 1})
    for act in (
        lambda: state.set("new", value),
        lambda: state.update({"kept": 2, "new": value}),
        lambda: state.setdefault("new", value),
        lambda: state.change("kept", lambda _: value),
    ):
        with pytest.raises(InvalidState, match=sentence):
            act()
    assert state.copy() == {"kept": 1}


@pytest.mark.parametrize("key", [1, None, b"k", "\0", "\udfff"])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(InvalidState):
        SessionState()[key] = 1


def test_63_levels_are_not_too_deep() -> None:
    state = SessionState()
    state["deep"] = nested(62)
    assert state["deep"] == nested(62)


def test_a_state_fills_its_bytes_and_no_more() -> None:
    state = SessionState(max_bytes=30)
    state["ä"] = "x" * 10
    state["b"] = [1, 2]
    assert size_of(fields_of(state)) == len((write_fields(fields_of(state)) or "").encode()) == 29
    with pytest.raises(StateTooLarge, match="30 bytes"):
        state["b"] = [1, 2, 3]
    with pytest.raises(StateTooLarge):
        state.update(c=1)
    state["b"] = [1, 22]
    del state["ä"]
    state["c"] = "x" * 10
    assert list(state) == ["b", "c"]


def test_a_state_that_is_too_large_already_may_become_smaller() -> None:
    state = SessionState(read=lambda: fields_of({"a": "x" * 50}), max_bytes=20)
    state["a"] = "x" * 40
    with pytest.raises(StateTooLarge):
        state["a"] = "x" * 41


# -- several at once -------------------------------------------------------------------------------


def test_a_hundred_writers_at_once_lose_nothing() -> None:
    state, begin = SessionState(), threading.Barrier(50)

    def write(number: int) -> None:
        begin.wait()
        for _ in range(20):
            state.change("count", lambda n: n + 1, 0)
        state[f"of {number}"] = number

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(write, range(50)))
    assert state.pop("count") == 1000
    assert state == {f"of {number}": number for number in range(50)}


def test_it_is_read_once_and_not_before_somebody_looks() -> None:
    reads: list[int] = []

    def read() -> dict[str, str]:
        reads.append(1)
        return {}

    assert SessionState(read=read).finish() is None
    assert reads == []
    state = SessionState(read=read)
    assert (state.get("a"), len(state), "b" in state) == (None, 0, False)
    assert reads == [1]


# -- changes ---------------------------------------------------------------------------------------


def test_only_what_is_other_than_before_is_a_change() -> None:
    state = stored(a=1, b=2)
    assert state["a"] == 1
    state["b"] = 3
    state["b"] = 2
    state["c"] = 1
    del state["c"]
    assert state.finish() is None


def test_changes_leave_other_keys_as_others_wrote_them() -> None:
    state = stored(count=1, old=1, gone=1)
    state["count"] += 1
    state["mine"] = "new"
    del state["gone"]
    assert after(state, count=1, old=2, gone=1, theirs=[1]) == {
        "count": 2,
        "old": 2,
        "theirs": [1],
        "mine": "new",
    }


def test_a_clear_leaves_what_the_turn_has_not_seen() -> None:
    state = stored(a=1)
    state.clear()
    assert after(state, a=1, theirs=1) == {"theirs": 1}


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.change("a", lambda a: a + 1),
        lambda s: s.set("a", len(s)),
        lambda s: s.update({"a": s.copy()}),
        lambda s: s.pop("a"),
        lambda s: s.set("new", "new" in s),
        lambda s: s.set("new", list(s)),
    ],
)
def test_what_was_read_changed_and_changed_by_another_as_well_is_a_conflict(act: Any) -> None:
    state = stored(a=3)
    act(state)
    changes = changes_of(state)
    assert changes.apply(fields_of({"a": 3}), 1000) is not None
    with pytest.raises(StateConflict):
        changes.apply(fields_of({"a": 5, "new": 1}), 1000)


def test_what_was_set_without_a_look_is_the_last_word() -> None:
    state = stored(a=1)
    state["a"] = 9
    assert after(state, a=5) == {"a": 9}


def test_two_who_changed_to_the_same_are_no_conflict() -> None:
    state = stored(a=1)
    state["a"] += 1
    assert after(state, a=2) == {"a": 2}


def test_changes_that_have_no_room_beside_another_s_are_a_conflict() -> None:
    state = SessionState(max_bytes=40)
    state["mine"] = "x" * 20
    with pytest.raises(StateConflict, match="no room"):
        changes_of(state).apply(fields_of({"theirs": "y" * 20}), 40)


def test_a_tool_that_is_left_behind_cannot_change_it_any_more() -> None:
    state = stored(a=1)
    state["a"] = 2
    assert changes_of(state).sets == {"a": "2"}
    with pytest.raises(InvalidState, match="The turn is over"):
        state["a"] = 3
    assert state["a"] == 2
