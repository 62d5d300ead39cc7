"""Tests of how a list of named parts is read."""

from __future__ import annotations

import pytest

from webapp.listed_parts import Part, parts_of


def test_names_and_parameters_are_read() -> None:
    text = """length(input=4000, output = 8000),  a.b:c personal-data
        patterns("(x, y)", 'say "no"', file=/etc/deny.txt)"""
    assert parts_of(text) == (
        Part(
            "length(input=4000, output = 8000)", "length", (), {"input": "4000", "output": "8000"}
        ),
        Part("a.b:c", "a.b:c"),
        Part("personal-data", "personal-data"),
        Part(
            """patterns("(x, y)", 'say "no"', file=/etc/deny.txt)""",
            "patterns",
            ("(x, y)", 'say "no"'),
            {"file": "/etc/deny.txt"},
        ),
    )
    assert parts_of(" , ") == ()
    assert parts_of("plain()") == (Part("plain()", "plain"),)


@pytest.mark.parametrize(
    "text",
    [
        "a(",
        "a)",
        "(a)",
        "a(b",
        'a("b)',
        "a(b=1, b=2)",
        "a(b=(1))",
        "a()b",
        "a(=1)",
        "a(b==c)",
        "'a'",
    ]
    + ["a" * 200_000, "a(" + "b," * 60_000],
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        parts_of(text)
