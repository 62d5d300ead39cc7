"""Latency buckets: within 5 %, and percentiles by nearest rank."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.usage import histogram
from webapp.usage.histogram import bucket_of, halved, percentile, percentiles, value_of

latencies = st.integers(1, 3_600_000)
counted = st.dictionaries(st.integers(-1, histogram.LAST_BUCKET), st.integers(1, 500))


@given(latencies)
def test_a_bucket_stands_for_its_latencies_within_five_percent(latency: int) -> None:
    # Half a millisecond more, because the middle is given in whole ones.
    assert abs(value_of(bucket_of(latency)) - latency) <= 0.05 * latency + 0.5


@given(latencies, latencies)
def test_buckets_keep_the_order(one: int, other: int) -> None:
    if one <= other:
        assert bucket_of(one) <= bucket_of(other)


@pytest.mark.parametrize(
    ("latency", "bucket"), [(-5, 0), (0, 0), (1, 0), (10**9, histogram.LAST_BUCKET)]
)
def test_what_is_out_of_range_goes_to_the_ends(latency: int, bucket: int) -> None:
    assert bucket_of(latency) == bucket


@given(st.lists(latencies, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1]))
def test_a_percentile_is_that_of_the_latencies_themselves(
    measured: list[int], share: float
) -> None:
    counts: dict[int, int] = {}
    for latency in measured:
        counts[bucket_of(latency)] = counts.get(bucket_of(latency), 0) + 1
    rank = max(1, math.ceil(share * len(measured)))
    assert percentile(counts, share) == value_of(bucket_of(sorted(measured)[rank - 1]))


def test_without_a_latency_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentiles({histogram.NO_LATENCY: 7}, (0.5, 0.95)) == [None, None]
    assert percentile({histogram.NO_LATENCY: 7, 5: 1}, 0.01) == value_of(5)


@given(counted)
def test_halving_keeps_the_shape(counts: dict[int, int]) -> None:
    half = halved(counts)
    assert sum(half.values()) == sum(counts.values()) // 2
    assert set(half) <= set(counts)
    assert all(count > 0 for count in half.values())


def test_old_latencies_fade() -> None:
    counts: dict[int, int] = {}
    for latency in [10] * 3000 + [500] * 2000:
        counts = histogram.with_latency(counts, latency)
    assert sum(counts.values()) <= histogram.REMEMBERED
    assert percentile(counts, 0.5) == value_of(bucket_of(500))


def test_what_is_written_is_read_again() -> None:
    counts = {0: 3, 17: 1, histogram.LAST_BUCKET: 2}
    assert histogram.read(histogram.write(counts)) == counts
    assert json.loads(histogram.write(counts)) == {"0": 3, "17": 1, "158": 2}
    assert histogram.read('{"17": 1, "20": 4}') == {17: 1, 20: 4}  # as json writes it
    assert histogram.read("{}") == {}
