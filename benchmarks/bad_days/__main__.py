"""`python -m benchmarks.bad_days NAME|all|soak`: see benchmarks/README.md."""

import argparse
import sys
import time

from benchmarks.bad_days.days import DAYS, Day
from benchmarks.bad_days.house import opened
from benchmarks.bad_days.report import HEAD, Outcome, outcome_of
from benchmarks.bad_days.soak import soak

BEFORE_SECONDS = 3.0


def live_through(name: str, day: Day, engine: str) -> Outcome:
    """The crowd talks before, during and after what goes wrong."""
    with opened(engine, servers=day.servers, disk_mib=day.disk_mib, settings=day.settings) as house:
        crowd = house.crowd()
        crowd.start()
        time.sleep(BEFORE_SECONDS)
        day.breaks(house)
        house.wait_until_well()
        time.sleep(BEFORE_SECONDS)
        crowd.finish()
        outcome = outcome_of(f"{name}, {engine}", house, crowd)
        for what, value in house.counted.items():
            outcome.examples.append(f"{what}: {value}")
    return outcome


def main() -> None:
    """Lives through the days that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_days", description=__doc__)
    parser.add_argument("day", choices=[*DAYS, "all", "soak"])
    parser.add_argument("--engine", choices=["sqlite", "postgres", "both"], default="both")
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
            outcome = live_through(name, DAYS[name], engine)
            kept = kept and outcome.kept
            print(outcome.line(), flush=True)
            for example in outcome.examples:
                print(f"- {example}", flush=True)
    sys.exit(not kept)


if __name__ == "__main__":
    main()
