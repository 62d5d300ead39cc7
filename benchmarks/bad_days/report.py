"""Counts what was answered and what is stored when a day is over."""

from dataclasses import dataclass, field

from benchmarks.bad_days.crowd import SILENCE, Crowd
from benchmarks.bad_days.house import House
from benchmarks.bad_days.witness import WORDS, Witness


@dataclass(slots=True)
class Outcome:
    """The figures of a day. `late` are turns that were stored and whose answer never came."""

    name: str
    received: int = 0
    found: int = 0
    late: int = 0
    half_turns: int = 0
    foreign: int = 0
    wrong_histories: int = 0
    wrong_limits: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    data: str = ""
    examples: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Every promise was kept."""
        faults = self.half_turns + self.foreign + self.wrong_histories + self.wrong_limits
        faults += self.refusals.get(SILENCE, 0)
        return self.received == self.found and self.received > 0 and not faults and not self.data

    def line(self) -> str:
        """A row of the table."""
        refused = ", ".join(f"{number} {code}" for code, number in sorted(self.refusals.items()))
        counts = (self.received, self.found, self.late, self.half_turns, self.foreign)
        cells = [self.name, *map(str, counts), str(self.wrong_histories), refused or "none"]
        return f"| {' | '.join(cells)} | {self.data or 'agree'} |"


HEAD = (
    "| day | answers received | found | stored, answer lost | half turns | foreign words"
    " | wrong histories | refused or lost | counters |\n|---|--:|--:|--:|--:|--:|--:|---|---|"
)


def outcome_of(name: str, house: House, crowd: Crowd, *, cap: int | None = None) -> Outcome:
    """Reads everything that is stored. With a `cap` the newest messages alone are there."""
    outcome = Outcome(name, refusals=dict(crowd.refusals.counts))
    stored_words = Witness()
    for user in crowd.names:
        answered = house.witness.answered[user]
        outcome.received += len(answered)
        history = house.history(user)
        expected = answered if cap is None else []
        stored_words.judge(user, history, expected)
        stored = {
            int(found[3])
            for message in history
            if (found := WORDS.fullmatch(message["content"])) and found[2] == "hears"
        }
        if cap is None:
            outcome.found += len(stored.intersection(answered))
            outcome.late += len(stored.difference(answered))
        else:
            newest = answered[-(cap // 2 - 1) :]
            lost = [number for number in newest if number not in stored]
            outcome.found += len(answered) - len(lost)
    for witness in (house.witness, stored_words):
        outcome.half_turns += witness.half_turns
        outcome.foreign += witness.foreign
        outcome.wrong_histories += witness.wrong_histories
        outcome.examples += witness.examples
    outcome.data = house.check_data()
    return outcome
