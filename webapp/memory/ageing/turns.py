"""The rule by which old messages go: whole turns from the front; no storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aged:
    """One message of a session, as much as the rule looks at."""

    seq: int
    role: str
    created_at: int


def first_to_stay(rows: Sequence[Aged], before_ms: int, *, whole: bool) -> tuple[int | None, bool]:
    """The number from which on messages stay, behind all turns that are older than that moment;
    and whether what stays is known to be young, or the end.

    A turn is as old as its newest message. `rows` are the session's oldest; `whole` says that there
    are no others, else the last turn among them may be cut and stays. None when that is the only
    one, so that more rows must be looked at.
    """
    first = begin = None
    young = False
    for row in rows:
        if row.role == "system":
            continue
        if row.role == "user" or begin is None:
            if young:
                return begin, True
            begin, young = row.seq, False
            first = begin if first is None else first
        young = young or row.created_at >= before_ms
    if young:
        return begin, True
    if whole:
        return (rows[-1].seq + 1 if rows else None), True
    return (None if begin == first else begin), False
