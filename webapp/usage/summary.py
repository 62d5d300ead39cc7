"""Reads what happened in a window of time, for one tenant or for everyone; writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS
from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.figures import Point, Row, Tally, Totals, UsageSummary
from webapp.usage.store import EVERYONE, TTFT
from webapp.usage.windows import Window

_PERIOD_MS = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}
_PAGE = 1000
# A request is stored when it ends and dated when it began: the list is out of order by so much.
_LATENESS_MS = HOUR_MS


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
        rows = _from_sums(connection, tenant, window, since)
        earlier = _before(connection, tenant, window, before, until_before)
    return _folded(window, now_ms, rows, earlier)


def totals(connection: Connection, tenant: int, window: Window, now_ms: int) -> Totals:
    """Only the window's totals."""
    since = window.since(now_ms)
    tally = Tally()
    if tenant != EVERYONE and window.period == "minute":
        rows = list(_from_requests(connection, tenant, since))
    else:
        rows = _before(connection, tenant, window, since, now_ms + DAY_MS)
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


def _from_sums(connection: Connection, tenant: int, window: Window, since: int) -> list[Row]:
    # Grouping by the step's small number sorts in half the time that its date would take.
    found = connection.execute(
        "SELECT (at - :since) / :step, measure, code, bucket, SUM(requests), SUM(errors),"
        " SUM(rate_limited), SUM(input_tokens), SUM(output_tokens)"
        " FROM usage WHERE tenant_id = :tenant AND period = :period AND at >= :since"
        " GROUP BY 1, 2, 3, 4",
        {"tenant": tenant, "period": window.period, "since": since, "step": window.step_ms},
    )
    return [
        Row(since + step * window.step_ms, measure == TTFT, *rest)
        for step, measure, *rest in found.fetchall()
    ]


def _before(
    connection: Connection, tenant: int, window: Window, since: int, until: int
) -> list[Row]:
    found = connection.execute(
        "SELECT measure, bucket, SUM(requests), SUM(errors), SUM(rate_limited),"
        " SUM(input_tokens), SUM(output_tokens)"
        " FROM usage WHERE tenant_id = :tenant AND period = :period"
        " AND at >= :since AND at < :until GROUP BY 1, 2",
        {"tenant": tenant, "period": window.period, "since": since, "until": until},
    )
    return [
        Row(since, measure == TTFT, "", bucket, *rest)
        for measure, bucket, *rest in found.fetchall()
    ]


def _from_requests(connection: Connection, tenant: int, since: int) -> Iterator[Row]:
    """The tenant's requests from `since` on: refused ones from sums by minute, which are kept for
    nobody else; the others newest first, read page by page until they end."""
    counted = connection.execute(
        "SELECT at, code, bucket, requests, errors, rate_limited, input_tokens, output_tokens"
        " FROM usage WHERE tenant_id = :tenant AND period = 'minute' AND at >= :since",
        {"tenant": tenant, "since": since},
    ).fetchall()
    for minute, *figures in counted:
        yield Row(minute, False, *figures)
    last = 2**63 - 1
    while True:
        page = connection.execute(
            "SELECT id, at, status, code, latency_ms, first_token_ms, input_tokens, output_tokens"
            " FROM requests WHERE tenant_id = :tenant AND id < :last"
            " ORDER BY id DESC LIMIT :page",
            {"tenant": tenant, "last": last, "page": _PAGE},
        ).fetchall()
        for _, at, status, code, latency, first_token, input_tokens, output_tokens in page:
            if at < since:
                continue
            timed = not 400 <= status < 500
            bucket = histogram.bucket_of(latency) if timed else histogram.NO_LATENCY
            failed, refused = int(status >= 500), int(status == 429)
            yield Row(at, False, code, bucket, 1, failed, refused, input_tokens, output_tokens)
            if timed and first_token is not None:
                yield Row(at, True, "", histogram.bucket_of(first_token), 1, 0, 0, 0, 0)
        if len(page) < _PAGE or page[-1][1] < since - _LATENESS_MS:
            return
        last = page[-1][0]
