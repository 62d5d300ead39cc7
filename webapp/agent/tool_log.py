"""Which tools a run called, how each call ended and how long it took; nothing of what was said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ToolOutcome: TypeAlias = Literal["ok", "error", "timeout", "cancelled"]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call of a tool that there is."""

    name: str
    outcome: ToolOutcome
    seconds: float


@dataclass(slots=True)
class ToolLog:
    """The calls of one run, in the order in which they ended. Several threads may add to it."""

    uses: list[ToolUse] = field(default_factory=list)

    def add(self, name: str, outcome: ToolOutcome, seconds: float) -> None:
        self.uses.append(ToolUse(name, outcome, seconds))
