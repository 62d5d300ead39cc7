"""Which steps of a newer version's schema an older one can work beside."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The name is the promise: such a step only adds tables, columns with a default and indexes.
_ADDS = re.compile(r"[mp]\d+_adds_\w+")


def in_the_way(unknown: Iterable[str]) -> tuple[str, ...]:
    """Of the steps that this version does not know, those that it cannot work beside."""
    return tuple(name for name in unknown if not _ADDS.fullmatch(name))
