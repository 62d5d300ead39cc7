"""Reads what happened since the database was made, for everyone together; writes nothing.

The sums by day of all tenants are never pruned, so these figures only grow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from webapp.storage import Connection
from webapp.usage import histogram
from webapp.usage.store import EVERYONE, TTFT


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
    """All figures in one read of the sums by day: a few hundred rows for each day of use."""
    found = Lifetime()
    rows = connection.execute(
        "SELECT measure, code, bucket, SUM(requests), SUM(errors), SUM(rate_limited),"
        " SUM(input_tokens), SUM(output_tokens)"
        " FROM usage WHERE tenant_id = :everyone AND period = 'day' GROUP BY 1, 2, 3",
        {"everyone": EVERYONE},
    ).fetchall()
    for measure, code, bucket, requests, errors, refused, input_tokens, output_tokens in rows:
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


def tenant_count(connection: Connection) -> int:
    """How many tenants there are; walks one index."""
    return int(connection.execute("SELECT COUNT(*) FROM tenants", {}).fetchone()[0])
