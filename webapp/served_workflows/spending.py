"""What a served run has used at the model, so that each token is counted once."""

from __future__ import annotations

from webapp.agent import Meter
from webapp.messages import Usage
from webapp.workflow.journal import StepRecord
from webapp.workflow.running import Running
from webapp.workflow.stored_journal import StoredJournal


class RunMeter(Meter):
    """The tokens of a run, for its request's record.

    The record of its end counts all of it, steps of processes that were killed included. A process
    that has to leave the run to another (`goes_on`) counts what is in no journal; the other one
    finds the rest there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = False
        self._running: Running | None = None
        self._journal: StoredJournal | None = None
        self._earlier = 0

    def begin(self, running: Running, journal: StoredJournal) -> None:
        """The run is this process's from here on."""
        self._running, self._journal = running, journal
        self._earlier = len(journal.records)

    @property
    def usage(self) -> Usage:
        if self._running is None or self._journal is None:
            return Usage()
        records, spent = self._journal.records, self._running.spent
        if not self.goes_on:
            return spent + _sum(records[: self._earlier])
        kept = _sum(records[self._earlier :])
        return Usage(
            max(0, spent.input_tokens - kept.input_tokens),
            max(0, spent.output_tokens - kept.output_tokens),
        )


def _sum(records: list[StepRecord]) -> Usage:
    return sum((record.result.usage for record in records), Usage())
