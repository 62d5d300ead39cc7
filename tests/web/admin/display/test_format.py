"""How figures and times are written in the console."""

from datetime import UTC, datetime

import pytest
from jinja2 import Environment

from webapp.web.admin.display import format as console_format
from webapp.web.admin.display.format import (
    change,
    compact,
    differences,
    duration,
    invisible,
    iso,
    number,
    percent,
    plural,
    size,
    utc,
    when,
)

NOON = 1_795_435_200_000  # 23 November 2026, 12:00 UTC


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (999, "999"), (1234567, "1,234,567"), (-1200, "\u22121,200")],
)
def test_a_number_has_thousands_and_nothing_known_is_a_dash(value: int | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (2.5, "2.5"),
        (999, "999"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (999_950, "1M"),
        (4_560_000, "4.56M"),
        (7e14, "700T"),
        (-1500, "\u22121.5k"),
    ],
)
def test_a_compact_number_keeps_three_digits(value: float | None, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (1, "1 ms"),
        (1.25, "1.2 ms"),
        (845, "845 ms"),
        (999.6, "1 s"),
        (1240, "1.24 s"),
        (59_990, "1 min"),
        (125_000, "2 min 5 s"),
        (3_600_000, "1 h"),
        (12_000_000, "3 h 20 min"),
        (4 * 86_400_000, "4 d"),
    ],
)
def test_a_duration_names_the_unit_that_fits(milliseconds: float | None, text: str) -> None:
    assert duration(milliseconds).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (512, "512 B"),
        (1536, "1.5 KiB"),
        (20 * 1024**2, "20 MiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_a_size_is_in_binary_units(count: int | None, text: str) -> None:
    assert size(count).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (1, 0, "–"),
        (None, 5, "–"),
        (1, 100_000, "<0.1 %"),
        (42, 1000, "4.2 %"),
        (38, 100, "38 %"),
    ],
)
def test_a_share_of_nothing_is_a_dash(part: int | None, whole: int, text: str) -> None:
    assert percent(part, whole).replace("\u00a0", " ") == text


def test_a_change_says_its_direction_and_whether_that_is_good() -> None:
    worse = change(110, 100, "down")
    assert worse is not None
    assert (worse.text, worse.direction, worse.tone) == ("+10\u00a0%", "up", "bad")
    better = change(90, 100, "down")
    assert better is not None
    assert (better.text, better.tone) == ("\u221210\u00a0%", "good")
    plain = change(110, 100)
    assert plain is not None
    assert plain.tone == "neutral"


def test_a_change_of_almost_nothing_is_none_and_a_huge_one_is_a_factor() -> None:
    level = change(1001, 1000)
    assert level is not None
    assert level.text == "no change"
    huge = change(2000, 100)
    assert huge is not None
    assert huge.text == "×20"


@pytest.mark.parametrize("before", [None, 0])
def test_there_is_no_change_from_a_window_without_figures(before: int | None) -> None:
    assert change(5, before) is None
    assert change(None, 5) is None


def test_a_time_is_written_in_utc_with_its_exact_instant_on_hover() -> None:
    assert iso(NOON + 7) == "2026-11-23T12:00:00.007Z"
    assert utc(NOON) == "23 Nov 2026, 12:00 UTC"
    assert utc(None) == "–"
    assert when(NOON) == (
        '<time datetime="2026-11-23T12:00:00.000Z" title="23 Nov 2026, 12:00:00 UTC" '
        'data-time="moment">23 Nov 2026, 12:00 UTC</time>'
    )
    assert ">12:00<" in when(NOON, "clock")
    assert ">23 Nov<" in when(NOON, "day")
    assert when(datetime(2026, 11, 23, 12, tzinfo=UTC)) == when(NOON)
    assert "<time" not in when(None)


def test_an_id_with_characters_that_cannot_be_seen_is_named() -> None:
    assert invisible("user\u200b-a\u202e") == [
        "U+200B zero width space",
        "U+202E right-to-left override",
    ]
    assert invisible("👩\u200d👧 مستخدم") == []


def test_an_audit_entry_is_told_by_what_was_and_what_is() -> None:
    assert differences({"messages": 1088, "blocked": False}, {"messages": 0, "role": "owner"}) == [
        ("messages", "1,088", "0"),
        ("blocked", "no", ""),
        ("role", "", "owner"),
    ]


def test_a_count_has_its_noun() -> None:
    assert plural(1, "message") == "1\u00a0message"
    assert plural(2300, "message") == "2,300\u00a0messages"
    assert plural(0, "entry", "entries") == "0\u00a0entries"


def test_the_filters_escape_what_they_are_given() -> None:
    environment = Environment(autoescape=True)
    console_format.install(environment)
    page = environment.from_string("{{ 3|plural(noun) }}")
    assert page.render(noun="<b>") == "3\u00a0&lt;b&gt;s"
