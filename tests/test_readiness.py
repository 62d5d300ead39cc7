"""The parts of a server are asked seldom, one question at a time, and never waited for too long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes import until
from webapp import readiness as readiness_module
from webapp.readiness import Finding, Findings, Probe, Readiness

DOWN = {"part": Finding("down", "It does not answer.")}
GOOD = {"part": Finding()}


class Asked:
    """A part that can be held up; counts how often it was asked, and how many asked at once."""

    def __init__(self, findings: Findings = GOOD) -> None:
        self.findings = findings
        self.count = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> Findings:
        self.count += 1
        self.open.wait(20)
        return self.findings


def test_many_who_ask_cost_one_question() -> None:
    part = Asked()
    readiness = Readiness([Probe(part, silent=DOWN, needed=True, kept=60)])
    with ThreadPoolExecutor(20) as pool:
        reports = list(pool.map(lambda _: readiness.report(), range(200)))
    assert all(report.ready for report in reports)
    assert part.count == 1


def test_a_bad_answer_is_asked_for_again_at_once() -> None:
    part = Asked(DOWN)
    readiness = Readiness([Probe(part, silent=DOWN, needed=True, kept=60)])
    assert not readiness.report().ready
    part.findings = GOOD
    assert readiness.report().ready
    part.findings = DOWN
    assert readiness.report().ready, "a good one is kept"


def test_one_that_hangs_is_not_waited_for_and_not_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness_module, "PATIENCE_SECONDS", 0.2)
    part, other = Asked(), Asked({"other": Finding()})
    part.open.clear()
    readiness = Readiness(
        [Probe(other, silent={}, needed=False), Probe(part, silent=DOWN, needed=True)]
    )
    began = time.monotonic()
    reports = [readiness.report() for _ in range(30)]
    assert time.monotonic() - began < 5, "only the first has waited"
    assert part.count == 1
    assert not reports[-1].ready
    assert reports[-1].findings == {**DOWN, "other": Finding()}
    assert reports[-1].reasons == {"part": "It does not answer."}
    part.open.set()
    until(lambda: readiness.report().ready)


def test_a_part_that_is_not_needed_stops_nothing_and_is_told_last() -> None:
    limiter = Asked({"limiter": Finding("down", "Uncounted.")})
    database = Asked({"database": Finding("locked", "Locked.")})
    readiness = Readiness([Probe(limiter, silent={}, needed=False)])
    assert readiness.report().ready
    readiness = Readiness(
        [Probe(limiter, silent={}, needed=False), Probe(database, silent={}, needed=True)]
    )
    report = readiness.report()
    assert not report.ready
    assert list(report.reasons.values()) == ["Locked.", "Uncounted."]


def test_a_question_that_fails_has_not_been_answered() -> None:
    def broken() -> Findings:
        raise RuntimeError("a defect")

    readiness = Readiness([Probe(broken, silent=DOWN, needed=True)])
    assert readiness.report().findings == DOWN
