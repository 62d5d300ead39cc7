"""Figures that are cached for some seconds and counted again in the background."""

from __future__ import annotations

import threading

import pytest

from tests.fakes import HandClock, until
from webapp.errors import StorageUnavailable
from webapp.web.admin.figures.cache import MAX_ENTRIES, FigureCache


def test_a_figure_is_counted_once_while_it_is_fresh() -> None:
    clock = HandClock()
    figures, counted = FigureCache(clock), []

    def count() -> int:
        counted.append(1)
        return len(counted)

    assert [figures.get("a", count, seconds=5) for _ in range(3)] == [1, 1, 1]
    clock.advance(6)
    assert figures.get("a", count, seconds=5) in (1, 2)
    until(lambda: figures.get("a", count, seconds=5) == 2)


def test_what_is_very_old_is_waited_for() -> None:
    clock = HandClock()
    figures, counted = FigureCache(clock), iter(range(100))
    for expected in range(50):
        assert figures.get("a", lambda: next(counted), seconds=5) == expected
        clock.advance(600)


def test_who_is_out_of_patience_gets_nothing_and_later_the_value() -> None:
    figures, gate = FigureCache(HandClock()), threading.Event()

    def count() -> str:
        gate.wait(5)
        return "counted"

    assert figures.get("a", count, seconds=5, patience=0.01) is None
    gate.set()
    assert figures.get("a", count, seconds=5, patience=5) == "counted"


def test_a_failure_reaches_the_reader_and_is_not_kept() -> None:
    figures, answers = FigureCache(HandClock()), [True, False]

    def count() -> str:
        if answers.pop(0):
            raise StorageUnavailable("away")
        return "back"

    with pytest.raises(StorageUnavailable):
        figures.get("a", count, seconds=5)
    assert figures.get("a", count, seconds=5) == "back"


def test_memory_is_bounded() -> None:
    figures = FigureCache(HandClock())
    for number in range(MAX_ENTRIES * 2):
        figures.get(number, lambda: 1, seconds=5)
    assert len(figures._entries) == MAX_ENTRIES
