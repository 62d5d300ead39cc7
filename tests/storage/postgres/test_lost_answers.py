"""A ticket or key whose answer was lost holds nobody up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.fakes import until
from webapp.errors import StorageUnavailable
from webapp.storage.postgres import turn_lines
from webapp.storage.postgres.database import PostgresDatabase
from webapp.storage.postgres.failures import stalled
from webapp.storage.postgres.link import Outcome
from webapp.storage.postgres.turn_lines import PostgresTurnLines

pytestmark = pytest.mark.postgres


class LosesAnswers(PostgresDatabase):
    """Runs the statement, and then the connection is gone before its answer came."""

    lost: str | None = None

    def once(self, sql: str, parameters: Mapping[str, Any]) -> Outcome:
        outcome = super().once(sql, parameters)
        if sql == self.lost:
            self.lost = None
            raise stalled()
        return outcome


@pytest.fixture
def database(postgres_url: str) -> LosesAnswers:
    return LosesAnswers(postgres_url, 3)


def test_a_ticket_that_nobody_knows_of_leaves_the_line_and_the_others_stay(
    database: LosesAnswers,
) -> None:
    ours, others = PostgresTurnLines(database), PostgresTurnLines(database)
    first, second = ours.join("alice", None), others.join("alice", None)
    assert first is not None
    assert second is not None
    database.lost = turn_lines._JOIN
    with pytest.raises(StorageUnavailable):
        ours.join("alice", None)
    third = others.join("alice", None)
    assert third is not None
    assert third.number == 4  # the lost one has the number before

    ours.renew()
    for ticket, lines in ((first, ours), (second, others), (third, others)):
        assert others.head("alice") == ticket
        lines.leave("alice", ticket)
    assert others.head("alice") is None
    ours.close()
    others.close()
    database.close()


def test_a_key_that_nobody_knows_of_is_free_again_and_one_that_is_held_is_not(
    database: LosesAnswers,
) -> None:
    lines = PostgresTurnLines(database)
    worker, _ = lines.hold_key("alice", "held", "body")
    for key in ("lost", "held"):
        database.lost = turn_lines._HOLD
        with pytest.raises(StorageUnavailable):
            lines.hold_key("alice", key, "body")
    lines.renew()
    assert lines.hold_key("alice", "held", "body") == (0, "body")
    assert lines.hold_key("alice", "lost", "body") == (worker, "body")
    lines.close()
    database.close()


def test_more_doubts_than_can_be_kept_end_with_the_lease(
    database: LosesAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_lines, "MOST_DOUBTS", 2)
    lines, others = PostgresTurnLines(database, lease=0.5), PostgresTurnLines(database, lease=60)
    for number in range(3):
        database.lost = turn_lines._JOIN
        with pytest.raises(StorageUnavailable):
            lines.join(f"user{number}", None)
    mine = others.join("user0", None)
    assert mine is not None
    assert mine.number == 2
    lines.renew()
    until(lambda: others.head("user0") == mine, 5)
    lines.close()
    others.close()
    database.close()
