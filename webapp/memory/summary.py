"""The running summary of a session: what was said in messages that are no longer sent."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said up to the message with the id `through`, that one included, in `text`."""

    text: str
    through: str
    made_at_ms: int
