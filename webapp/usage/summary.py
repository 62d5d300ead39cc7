"""Reads what happened in a window of time, for one tenant or for everyone; writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.figures import EVERYONE, Point, Row, Tally, Totals, UsageSummary
from webapp.usage.store import requests_since
from webapp.usage.sums.store import sums
from webapp.usage.windows import Window

_PERIOD_MS = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}
_PAGE = 1000


def summary(connection: Connection, tenant: int, window: Window, now_ms: int) -> UsageSummary:
    """The window's figures of a tenant's number, or of `EVERYONE`; all zeros when there are none.

    The time before is compared like for like: it ends where the unfinished step would be.
    """
    since = window.since(now_ms)
    before = since - window.length_ms
    grain = _PERIOD_MS[window.period]
    until_before = now_ms - now_ms % grain + grain - window.length_ms
    if tenant != EVERYONE and window.period == "minute":
        rows = list(_from_requests(connection, tenant, before))
        earlier: Iterable[Row] = [row for row in rows if row.at_ms < until_before]
        rows = [row for row in rows if row.at_ms >= since]
    else:
        rows = sums(connection, tenant, window.period, since, step_ms=window.step_ms)
        earlier = sums(connection, tenant, window.period, before, until_before)
    return _folded(window, now_ms, rows, earlier)


def totals(connection: Connection, tenant: int, window: Window, now_ms: int) -> Totals:
    """Only the window's totals."""
    since = window.since(now_ms)
    tally = Tally()
    if tenant != EVERYONE and window.period == "minute":
        rows: Iterable[Row] = _from_requests(connection, tenant, since)
    else:
        rows = sums(connection, tenant, window.period, since)
    for row in rows:
        tally.add(row)
    return tally.totals()


def _folded(
    window: Window, now_ms: int, rows: Iterable[Row], earlier: Iterable[Row]
) -> UsageSummary:
    whole, before = Tally(), Tally()
    steps: defaultdict[int, Tally] = defaultdict(Tally)
    errors: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for row in rows:
        whole.add(row)
        steps[row.at_ms - row.at_ms % window.step_ms].add(row)
        if row.errors:
            errors[row.code] += row.errors
        if row.rate_limited:
            refusals[row.code] += row.rate_limited
    for row in earlier:
        before.add(row)
    nothing = Totals()
    return UsageSummary(
        window,
        whole.totals(),
        dict(errors.most_common()),
        dict(refusals.most_common()),
        tuple(
            Point(start, steps[start].totals() if start in steps else nothing)
            for start in window.starts(now_ms)
        ),
        before.totals(),
    )


def _from_requests(connection: Connection, tenant: int, since: int) -> Iterator[Row]:
    """The tenant's requests from `since` on. Those that were only counted when they were refused
    have sums by minute, which are kept for nothing else of one tenant."""
    yield from sums(connection, tenant, "minute", since, step_ms=MINUTE_MS)
    for one in requests_since(connection, tenant, since, _PAGE):
        bucket = histogram.bucket_of(one.latency_ms) if one.timed else histogram.NO_LATENCY
        failed, refused = int(one.failed), int(one.refused)
        tokens = one.input_tokens, one.output_tokens
        yield Row(one.at_ms, False, one.code, bucket, 1, failed, refused, *tokens)
        if one.timed and one.first_token_ms is not None:
            bucket = histogram.bucket_of(one.first_token_ms)
            yield Row(one.at_ms, True, "", bucket, 1, 0, 0, 0, 0)
