"""LateRecords when many turns end at the same moment; what it stores is seen in test_service."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from flask import Flask

from tests.conftest import services_of
from webapp.chat.late_records import LateRecords
from webapp.usage.records import RequestRecord

THREADS = 4
RECORD = RequestRecord(
    at_ms=0,
    route="chat",
    status=503,
    code="storage_unavailable",
    latency_ms=1,
    first_token_ms=None,
    request_id="req-1",
)


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Lets threads take turns a thousand times more often than they do of themselves."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switches")
def test_turns_that_end_together_do_not_fail_over_the_records_of_others(app: Flask) -> None:
    failures: list[Exception] = []

    def end_a_turn(late: LateRecords, together: threading.Barrier) -> None:
        together.wait(10)
        try:
            late.write(now_ms=1)
        except IndexError as error:
            failures.append(error)

    for _ in range(100):
        late, together = LateRecords(services_of(app).database), threading.Barrier(THREADS)
        for _ in range(300):
            late.keep("nobody", RECORD)
        turns = [threading.Thread(target=end_a_turn, args=(late, together)) for _ in range(THREADS)]
        for turn in turns:
            turn.start()
        for turn in turns:
            turn.join()
    assert failures == []
