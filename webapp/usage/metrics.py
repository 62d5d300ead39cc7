"""The figures of a window as REST and the terminal give them: one set of names."""

from __future__ import annotations

from typing import Any

from webapp.periods import iso_utc
from webapp.usage.figures import UsageSummary


def metrics_fields(figures: UsageSummary) -> dict[str, Any]:
    """Counts, tokens, percentiles in milliseconds, and the series, oldest step first."""
    totals = figures.totals
    return {
        "requests": totals.requests,
        "errors": totals.errors,
        "rate_limited": totals.rate_limited,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "latency_ms": {
            "p50": totals.latency.p50,
            "p95": totals.latency.p95,
            "p99": totals.latency.p99,
        },
        "series": [
            {
                "at": iso_utc(point.at_ms),
                "requests": point.totals.requests,
                "errors": point.totals.errors,
                "tokens": point.totals.tokens,
            }
            for point in figures.series
        ],
    }
