"""The figures of a period as values, and how they add up; summary.py reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from webapp.usage import histogram
from webapp.usage.windows import Window

EVERYONE = 0  # the tenant number of the sums over all tenants
REQUEST = "request"
TTFT = "first_token"  # the time to it, measured on streamed turns


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that half, 95 % and 99 % did not exceed; None when nothing was measured."""

    p50: int | None = None
    p95: int | None = None
    p99: int | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a period."""

    requests: int = 0
    errors: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency: Percentiles = Percentiles()
    first_token: Percentiles = Percentiles()

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series, from `at_ms` on."""

    at_ms: int
    totals: Totals


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """The figures of one window, its steps oldest first, and those of as long a time before it.

    The kinds of errors (5xx) and of refusals (429) come with their counts, the most frequent
    first.
    """

    window: Window
    totals: Totals
    errors_by_code: Mapping[str, int]
    refusals_by_code: Mapping[str, int]
    series: tuple[Point, ...]
    previous: Totals


@dataclass(frozen=True, slots=True)
class Row:
    """Requests that are alike in all that is counted; `bucket` as in histogram.py."""

    at_ms: int
    first_token: bool
    code: str
    bucket: int
    requests: int
    errors: int
    rate_limited: int
    input_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Tally:
    """Adds rows up."""

    requests: int = 0
    errors: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    first_token: Counter[int] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        if row.first_token:
            self.first_token[row.bucket] += row.requests
            return
        self.requests += row.requests
        self.errors += row.errors
        self.rate_limited += row.rate_limited
        self.input_tokens += row.input_tokens
        self.output_tokens += row.output_tokens
        self.latency[row.bucket] += row.requests

    def totals(self) -> Totals:
        return Totals(
            self.requests,
            self.errors,
            self.rate_limited,
            self.input_tokens,
            self.output_tokens,
            percentiles_of(self.latency),
            percentiles_of(self.first_token),
        )


def percentiles_of(counts: Mapping[int, int]) -> Percentiles:
    """The three percentiles that are shown everywhere."""
    return Percentiles(*histogram.percentiles(counts, (0.5, 0.95, 0.99)))
