"""`python -m benchmarks.bad_days NAME|all|soak`: see benchmarks/README.md."""

import argparse
import sys
import time

from benchmarks.bad_days.days import DAYS, Day
from benchmarks.bad_days.house import opened
from benchmarks.bad_days.limited import Limited
from benchmarks.bad_days.report import HEAD, Outcome, outcome_of
from benchmarks.bad_days.soak import soak

BEFORE_SECONDS = 3.0


def live_through(name: str, day: Day, engine: str, rate: float | None = None) -> Outcome:
    """The crowd talks before, during and after what goes wrong."""
    with opened(engine, day.plan(engine)) as house:
        crowd = house.crowd(rate=rate)
        house.limited = Limited(house.servers) if house.redis is not None else None
        crowd.start()
        if house.limited is not None:
            house.limited.start()
        time.sleep(BEFORE_SECONDS)
        day.breaks(house)
        house.wait_until_well()
        time.sleep(BEFORE_SECONDS)
        crowd.finish()
        house.counted["longest without an answer"] = f"{crowd.longest_wait():.1f} s"
        if house.limited is not None:
            house.counted["turns of the limited user"] = house.limited.finish()
        outcome = outcome_of(f"{name}, {engine}", house, crowd)
        for what, value in house.counted.items():
            outcome.examples.append(f"{what}: {value}")
        if house.limited is not None:
            outcome.wrong_limits = house.limited.tally.wrong
            outcome.examples += house.limited.examples
    return outcome


def main() -> None:
    """Lives through the days that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_days", description=__doc__)
    parser.add_argument("day", choices=[*DAYS, "all", "soak"])
    parser.add_argument("--engine", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--rate", type=float, help="turns a second; as many as it can, unless set")
    parser.add_argument("--turns", type=int, default=200_000, help="of the soak")
    parser.add_argument("--workers", type=int, default=2, help="of the soak")
    options = parser.parse_args()
    if options.day == "soak":
        engine = "sqlite" if options.engine == "both" else options.engine
        sys.exit(not soak(options.turns, options.workers, engine))
    kept = True
    print(HEAD, flush=True)
    for name in DAYS if options.day == "all" else [options.day]:
        for engine in DAYS[name].engines:
            if options.engine not in ("both", engine):
                continue
            outcome = live_through(name, DAYS[name], engine, options.rate)
            kept = kept and outcome.kept
            print(outcome.line(), flush=True)
            for example in outcome.examples:
                print(f"- {example}", flush=True)
    sys.exit(not kept)


if __name__ == "__main__":
    main()
