"""The most telling bad days, shortened: nothing that was answered is lost, nobody hears another."""

from __future__ import annotations

import pytest

from benchmarks.bad_days import __main__ as bad_days
from benchmarks.bad_days.days import DAYS


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("kill-worker", "sqlite"),
        pytest.param("kill-postgres", "postgres", marks=pytest.mark.postgres),
    ],
)
def test_on_a_bad_day_every_promise_is_kept(
    name: str, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_days, "BEFORE_SECONDS", 1.0)
    outcome = bad_days.live_through(name, DAYS[name], on)
    assert outcome.kept, (outcome.line(), outcome.examples)
