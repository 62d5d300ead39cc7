"""Latencies in buckets on a logarithmic scale, and percentiles of them; storing them is store.py's.

Each bucket is a tenth wider than the one before, so a percentile is off by 5 % at most, from 1 ms
to an hour, in 159 buckets that add up across minutes, hours and tenants.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from pydantic_core import from_json, to_json

GROWTH = math.log(1.1)
NO_LATENCY = -1
LAST_BUCKET = round(math.log(3_600_000) / GROWTH)
REMEMBERED = 1000


def bucket_of(milliseconds: int) -> int:
    """The bucket of a latency; what is under 1 ms or over an hour goes to the first or last."""
    if milliseconds <= 1:
        return 0
    return min(LAST_BUCKET, round(math.log(milliseconds) / GROWTH))


def value_of(bucket: int) -> int:
    """The latency in milliseconds that stands for a bucket: its middle on the scale."""
    return round(math.exp(bucket * GROWTH))


def read(text: str) -> dict[int, int]:
    """The counts by bucket, as `write` wrote them."""
    return {int(bucket): count for bucket, count in from_json(text).items()}


def write(counts: Mapping[int, int]) -> str:
    """The counts as JSON. Each turn comes here twice, and json takes three times as long."""
    return to_json(counts).decode("ascii")


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The latency in milliseconds that `share` (0 to 1) of the requests did not exceed.

    Nearest rank; None when nothing was counted. `NO_LATENCY` is left out.
    """
    return percentiles(counts, (share,))[0]


def percentiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[int | None]:
    """The same for several shares."""
    buckets = sorted(bucket for bucket in counts if bucket >= 0)
    passed = list(accumulate(map(counts.__getitem__, buckets)))
    if not passed or passed[-1] <= 0:
        return [None] * len(shares)
    ranks = (max(1, math.ceil(share * passed[-1])) for share in shares)
    return [value_of(buckets[bisect_left(passed, rank)]) for rank in ranks]


def halved(counts: Mapping[int, int]) -> dict[int, int]:
    """Half of the counts in the same shape: the running sums are halved, so no tail is lost."""
    half: dict[int, int] = {}
    before = passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket]
        if passed // 2 > before:
            half[bucket] = passed // 2 - before
            before = passed // 2
    return half


def with_latency(counts: Mapping[int, int], milliseconds: int) -> dict[int, int]:
    """The counts with one more latency; over `REMEMBERED` the old ones weigh half."""
    grown = dict(counts)
    bucket = bucket_of(milliseconds)
    grown[bucket] = grown.get(bucket, 0) + 1
    return halved(grown) if sum(grown.values()) > REMEMBERED else grown
