"""Compares sums by minute, hour and day with one another, and with the requests that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from webapp.periods import DAY_MS, HOUR_MS, iso_utc
from webapp.storage import Connection, Database
from webapp.storage.settled import newest_number
from webapp.tenant_data.consistency.counters.store import Slice
from webapp.tenant_data.consistency.findings import Mismatch
from webapp.tenant_data.consistency.sums import store
from webapp.tenant_data.consistency.sums.store import FIGURES, Pair
from webapp.usage import histogram
from webapp.usage.figures import EVERYONE
from webapp.usage.retention import KEPT_MS
from webapp.usage.windows import Period

REQUESTS_AT_ONCE = 20_000
NEVER = 2**62
# The housekeeping of another host may have a clock that is ahead.
HOURS_SURE_MS = KEPT_MS["hour"] - DAY_MS
MINUTES_SURE_MS = KEPT_MS["minute"] // 2
OF_EVERYONE: Slice = {"after": -1, "last": EVERYONE}


def wrong_sums(connection: Connection, which: Slice, now_ms: int) -> Iterator[Mismatch]:
    """Of a slice of tenants, or of everyone together."""
    everyone = which == OF_EVERYONE
    first_day = _ceiling(now_ms - HOURS_SURE_MS, DAY_MS)
    # A tenant has sums by minute of refused requests alone.
    first_hour = _ceiling(now_ms - MINUTES_SURE_MS, HOUR_MS) if everyone else NEVER
    steps: tuple[tuple[Period, Period, int], ...] = (
        ("hour", "day", first_day),
        ("minute", "hour", first_hour),
    )
    for finer, coarser, since in steps:
        pairs = store.finer_and_coarser(connection, which, finer, coarser, since)
        yield from _mismatches(coarser, pairs, f"sums by {finer}")
    if not everyone:
        kept = store.kept_since(connection)
        spans: tuple[tuple[Period, int, int], ...] = (
            ("hour", max(first_day, _ceiling(kept, HOUR_MS)), NEVER),
            ("day", _ceiling(kept, DAY_MS), first_day),
        )
        for period, since, until in spans:
            pairs = store.sums_and_requests(connection, which, period, since, until)
            yield from _mismatches(period, pairs, "requests that are kept")
    for tenant, period, at in store.senseless(connection, which):
        yield Mismatch(tenant, f"usage by {period}, {_moment(at)}", "what cannot be", "no such sum")


def wrong_roll_up(connection: Connection) -> Iterator[Mismatch]:
    """What the roll-up itself goes by."""
    through, newest = store.rolled_up_through(connection), newest_number(connection)
    if not isinstance(through, int) or not 0 <= through <= newest:
        yield Mismatch(EVERYONE, "usage_rollup.through", through, f"at most {newest}")
    for tenant in store.senseless_refusals(connection):
        yield Mismatch(tenant, "refusals", "what cannot be", "no such count")
    if not _is_scale(store.buckets(connection)):
        yield Mismatch(EVERYONE, "latency_buckets", "other buckets", "those of the scale")


def wrong_days_of_everyone(database: Database) -> Iterator[Mismatch]:
    """Everyone's sums by day that are less than the requests that are kept: forgotten tenants
    stay in them, so they may be more."""
    counted: defaultdict[store.Key, tuple[int, ...]] = defaultdict(lambda: (0,) * len(FIGURES))
    after = 0
    while True:
        with database.read() as connection:
            pairs, after = store.requests_of_everyone(connection, after, REQUESTS_AT_ONCE)
        for pair in pairs:
            counted[pair.key] = tuple(map(sum, zip(counted[pair.key], pair.counted, strict=True)))
        if not after:
            break
    with database.read() as connection:
        said = {pair.key: pair.said for pair in store.days_of_everyone(connection)}
    nothing = (0,) * len(FIGURES)
    pairs = [Pair(key, said.get(key, nothing), figures) for key, figures in counted.items()]
    less = [pair for pair in pairs if any(map(int.__lt__, pair.said, pair.counted))]
    yield from _mismatches("day", less, "requests that are kept")


def _mismatches(period: str, pairs: Iterable[Pair], source: str) -> Iterator[Mismatch]:
    for pair in pairs:
        tenant, begins, measure, code, bucket = pair.key
        which = "" if measure == "request" else f" {measure}"
        kind = f"code {code or 'none'}" + ("" if bucket < 0 else f", bucket {bucket}")
        for name, said, counted in zip(FIGURES, pair.said, pair.counted, strict=True):
            if said != counted:
                where = f"usage by {period}, {_moment(begins)},{which} {kind}: {name}"
                yield Mismatch(tenant, f"{where} (against {source})", said, counted)


def _is_scale(rows: list[tuple[int, int]]) -> bool:
    """Whether each row begins a bucket of the histogram's scale, and none is left out."""
    if not rows or rows[0] != (0, 0) or rows[-1][1] != histogram.LAST_BUCKET:
        return False
    return all(
        histogram.bucket_of(low) == bucket and histogram.bucket_of(low - 1) == before
        for (_, before), (low, bucket) in pairwise(rows)
    )


def _ceiling(at_ms: int, length: int) -> int:
    return -(-at_ms // length) * length


def _moment(at_ms: object) -> str:
    try:
        return iso_utc(at_ms)[:16] + "Z" if isinstance(at_ms, int) else str(at_ms)
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
