"""The buckets of the latency histogram as rows, so that SQL can sort latencies into them."""

from __future__ import annotations

import math

_GROWTH = math.log(1.1)
_LONGEST_MS = 3_600_000


def latency_buckets() -> list[tuple[int, int]]:
    """From how many milliseconds on each bucket begins, and its number; see usage/histogram.py.

    A bucket in which there is no whole millisecond is left out.
    """
    last = round(math.log(_LONGEST_MS) / _GROWTH)
    begins = {
        math.ceil(math.exp((bucket - 0.5) * _GROWTH)): bucket for bucket in range(1, last + 1)
    }
    return [(0, 0), *begins.items()]
