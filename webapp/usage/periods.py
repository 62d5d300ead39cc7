"""The UTC calendar that counters and charts are kept by; nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def day_number(at_ms: int) -> int:
    """The UTC day as a number that a person can read: 20261123."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.year * 10_000 + at.month * 100 + at.day


def month_number(at_ms: int) -> int:
    """The UTC month likewise: 202611."""
    return day_number(at_ms) // 100


def month_after(month: int) -> int:
    """The month after 202612 is 202701."""
    return month + 1 if month % 100 < 12 else month + 89


def iso_utc(at_ms: int) -> str:
    """ISO 8601 as the API writes times: 2026-11-23T21:00:00.000Z."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
