"""The values of a comparison: what does not agree, and how much of it there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from webapp.usage.figures import EVERYONE

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A counter or sum that does not say what the rows do.

    `tenant` is a number, `EVERYONE` for what is no tenant's; `session` is a session's number.
    Names of sessions are the user's words, so none is in here.
    """

    tenant: int
    counter: str
    said: Any
    counted: Any
    session: int | None = None


@dataclass(slots=True)
class Findings:
    """How many mismatches were found, and the first of them: there may be a million."""

    count: int = 0
    first: list[Mismatch] = field(default_factory=list)
    tenants: int = 0
    messages: int = 0

    def add(self, found: Iterable[Mismatch]) -> None:
        for mismatch in found:
            self.count += 1
            if len(self.first) < SHOWN:
                self.first.append(mismatch)


def described(mismatch: Mismatch, name_of: Callable[[int], str | None]) -> str:
    """A sentence; `name_of` gives the readable user id of a tenant's number."""
    who = "everyone together"
    if mismatch.tenant != EVERYONE:
        name = name_of(mismatch.tenant)
        who = f"tenant {mismatch.tenant}, {'which is gone' if name is None else name}"
    where = "" if mismatch.session is None else f", session {mismatch.session}"
    return (
        f"{who}{where}: {mismatch.counter} says {mismatch.said}, the rows say {mismatch.counted}."
    )
