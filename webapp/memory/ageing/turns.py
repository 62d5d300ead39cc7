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


def first_to_stay(rows: Sequence[Aged], before_ms: int, *, whole: bool) -> int | None:
    """The number from which on messages stay, behind all turns that are older than that moment.

    A turn is as old as its newest message. `rows` are the session's oldest; `whole` says that there
    are no others, else the last turn among them may be cut and stays. None when that is the only
    one, so that more rows must be looked at.
    """
    begin: int | None = None
    young = False
    for row in rows:
        if row.role == "system":
            continue
        if row.role == "user" or begin is None:
            if young:
                return begin
            begin, young = row.seq, False
        young = young or row.created_at >= before_ms
    if begin is None:
        return rows[-1].seq + 1 if whole and rows else None
    if young:
        return begin
    if whole:
        return rows[-1].seq + 1
    first = next(row.seq for row in rows if row.role != "system")
    return None if begin == first else begin
