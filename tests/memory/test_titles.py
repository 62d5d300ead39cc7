"""Titles made from a first question: one line, cut at a word, never inside a letter."""

from __future__ import annotations

import pytest

from webapp.errors import InvalidInput
from webapp.memory.sessions.titles import OPENING_CHARS, check_title, opening_of, shortened
from webapp.messages import Message


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Hello", "Hello"),
        ("  Hello\n\tthere  ", "Hello there"),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 59 + "…"),
        ("word " * 20, ("word " * 12).strip() + "…"),
        ("日本語" * 40, ("日本語" * 20)[:59] + "…"),
        ("evil\u202etxt\u0000end\x1b[31m", "evil txt end [31m"),
        ("\u200b\u2060", ""),
        ("   ", ""),
        (" " * 5000 + "far", "far"),
        ("\u200b" * 5000 + "far", ""),
        ("e" * 58 + "e\u0301" * 9, "e" * 58 + "…"),
        ("👩\u200d💻" * 40, "👩\u200d💻" * 19 + "…"),
    ],
)
def test_a_title_is_one_short_line(question: str, title: str) -> None:
    assert shortened(question) == title
    assert len(title) <= OPENING_CHARS


def test_it_is_the_first_question_that_counts() -> None:
    system, answer = Message.system("Be kind"), Message.assistant("Hi")
    assert opening_of([system, answer]) is None
    assert opening_of([system, Message.user("One"), answer, Message.user("Two")]) == "One"


@pytest.mark.parametrize("title", ["", " ", "a\nb", "x" * 201, "\ud800"])
def test_what_a_person_may_not_call_it(title: str) -> None:
    with pytest.raises(InvalidInput):
        check_title(title)


def test_white_space_round_a_given_title_goes() -> None:
    assert check_title(" Invoice of May\u2003") == "Invoice of May"
