"""Reads the totals since the database was made, for all tenants together; writes nothing.

The sums by day of all tenants are never pruned, so these figures only grow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.figures import TTFT
from webapp.usage.sums import store as sums


@dataclass(slots=True)
class Lifetime:
    """Turns by code ('' for a success), tokens, and latencies by bucket of histogram.py."""

    turns: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    first_token: Counter[int] = field(default_factory=Counter)


def lifetime(connection: Connection) -> Lifetime:
    """All figures in one read."""
    found = Lifetime()
    for row in sums.all_time(connection):
        measure, code, bucket, requests, errors, refused, input_tokens, output_tokens = row
        if measure == TTFT:
            found.first_token[bucket] += requests
            continue
        found.turns[code] += requests
        found.errors += errors
        found.refused += refused
        found.input_tokens += input_tokens
        found.output_tokens += output_tokens
        if bucket != histogram.NO_LATENCY:
            found.latency[bucket] += requests
    return found
