"""A long, calm day: does anything grow, is anything lost?"""

import time
from pathlib import Path

from benchmarks.bad_days.house import Plan, opened
from benchmarks.bad_days.report import HEAD, Outcome, outcome_of
from benchmarks.processes import tree, usage

CAP = 40
SAMPLES = 20


def soak(turns: int, workers: int, engine: str) -> bool:
    """Runs so many turns; writes a table of memory, files and threads, and the outcome."""
    plan = Plan(workers=workers, settings={"MEMORY_MAX_MESSAGES": str(CAP)})
    with opened(engine, plan) as house:
        house.witness.looked_at = CAP // 2 - 1
        crowd = house.crowd(users=24)
        began = time.monotonic()
        print("| turns | turns/s | MiB | open files | threads |\n|--:|--:|--:|--:|--:|", flush=True)
        crowd.start(turns)
        step = max(1, turns // SAMPLES)
        following = step
        while crowd.talking:
            time.sleep(0.2)
            house.stub.requests.clear()
            if house.witness.calls >= following:
                _sample(house.server.pid, house.witness.calls, time.monotonic() - began)
                following += step
        crowd.join()
        _sample(house.server.pid, house.witness.calls, time.monotonic() - began)
        outcome = outcome_of("soak", house, crowd, cap=CAP)
    print(f"\n{HEAD}\n{outcome.line()}")
    _tell(outcome)
    return outcome.kept and not outcome.refusals


def _sample(first: int, turns: int, seconds: float) -> None:
    files = threads = 0
    for pid in tree(first):
        try:
            files += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            threads += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
    memory = usage(first).pss / 2**20
    print(f"| {turns:,} | {turns / seconds:.0f} | {memory:.0f} | {files} | {threads} |", flush=True)


def _tell(outcome: Outcome) -> None:
    for example in outcome.examples:
        print(f"- {example}")
