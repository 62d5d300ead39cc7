"""The UTC calendar that counters and charts are kept by; nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def month_span(at_ms: int) -> tuple[int, int]:
    """When the UTC month of that moment began, and when the next one begins."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    begin = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


def iso_utc(at_ms: int) -> str:
    """ISO 8601 as the API writes times: 2026-11-23T21:00:00.000Z."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
