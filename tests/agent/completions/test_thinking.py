"""Tests of what is left out of an answer as a thought."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.agent.completions.thinking import TAGS, ThoughtFilter, after_unopened_thought


def shown(text: str, size: int = 10_000) -> str:
    thoughts = ThoughtFilter()
    pieces = [thoughts.take(text[i : i + size]) for i in range(0, len(text), size)]
    return "".join(pieces) + ("" if thoughts.through else thoughts.end())


CASES = [
    ("<think>\nhm\n</think>\n\nHello", "Hello"),
    ("  \n<think>hm</think>Hello", "Hello"),
    ("<THINK>hm</THINK> Hello", "Hello"),
    ("<think></think>\n\nHello", "Hello"),
    ("<think>a</think>\n<think>b</think>\nHello", "Hello"),
    ("<think>a <b> < c</think>Hello </think>", "Hello </think>"),
    ("<think>İ hm</think>Hello", "Hello"),
    ("[THINK]hm[/THINK]Hello", "Hello"),
    ("◁think▷hm◁/think▷Hello", "Hello"),
    (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello",
        "Hello",
    ),
    ("<|START_THINKING|>hm<|END_THINKING|>Hello", "Hello"),
    ("<think>no end", ""),
    ("<think>", ""),
    ("<thin", "<thin"),
    ("<table>", "<table>"),
    ("< think>x</think>", "< think>x</think>"),
    ("Hello <think>x</think>", "Hello <think>x</think>"),
    ("  Hello", "  Hello"),
    ("\n\n", "\n\n"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "left"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_blocks_in_front_are_left_out_and_nothing_else(text: str, left: str, size: int) -> None:
    assert shown(text, size) == left


@pytest.mark.parametrize("opening", TAGS)
def test_each_tag_has_its_end(opening: str) -> None:
    assert shown(f"{opening}hm{TAGS[opening]}\nHello", 4) == "Hello"


def test_text_that_is_no_thought_is_shown_at_once() -> None:
    thoughts = ThoughtFilter()
    assert [thoughts.take(piece) for piece in ("Hel", "lo <think>")] == ["Hel", "lo <think>"]


@given(st.text("<think/> \nab[]", max_size=60), st.integers(1, 7))
def test_any_cut_shows_the_same(text: str, size: int) -> None:
    assert shown(text, size) == shown(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("musing\n</think>\n\nHello", "Hello"),
        ("musing\nmore\n</think>\nHello", "Hello"),
        ("</think>\n\nHello", "Hello"),
        ("The tag </think> closes it.", "The tag </think> closes it."),
        ("Like so:\n<think>\nx\n</think>\nOk", "Like so:\n<think>\nx\n</think>\nOk"),
        ("Hello\n</think>", "Hello\n</think>"),
        ("Hello", "Hello"),
    ],
)
def test_a_thought_without_its_opening_tag_is_known_by_the_closing_one(
    text: str, left: str
) -> None:
    assert after_unopened_thought(text) == left
