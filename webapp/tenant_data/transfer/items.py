"""What an import consists of once its lines were read and found right, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from webapp.errors import InvalidInput
from webapp.messages import Message
from webapp.tenant_data.transfer.shapes import Session, Tenant

MAX_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most of each that one tenant's part of an import may have."""

    messages: int
    sessions: int
    requests: int
    usage: int
    others: int
    """Of notes, of runs of workflows, and of their steps."""
    conversation_bytes: int
    """Of one in OpenAI's format, which is one line."""


IN_MEMORY = Bounds(200_000, 10_000, 500_000, 500_000, 100_000, 16 * 1024**2)
"""For an import that comes over the network and is held in memory until all of it was read."""

FROM_FILE = Bounds(1_000_000_000, 1_000_000, 1_000_000_000, 2_000_000, 1_000_000_000, 1024**3)
"""For one that is read from a file twice: to check it, and to store it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Here, in this line, one tenant's data begin; `tenant` is None where only its conversations
    are known, and `user_id` where the format does not say whose they are."""

    line: int
    user_id: str | None
    tenant: Tenant | None
    version: int
    conversations: bool


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a session."""

    session_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class Noted:
    """One note; without a number it gets the next."""

    number: int | None
    content: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a workflow, as its row's columns."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stepped:
    """One line of that run's journal, as its row's columns."""

    run_id: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Requested:
    """One request, as its row's columns."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Used:
    """One sum of usage, as its row's columns."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The tenant's data are whole; how much there was."""

    sessions: int
    messages: int
    requests: int


Item: TypeAlias = Begun | Session | Said | Noted | Ran | Stepped | Requested | Used | Ended


def wrong(number: int, fault: str) -> InvalidInput:
    """The refusal of an import for one of its lines."""
    sentence = f"Line {number} of the import {fault}."
    return InvalidInput(sentence, fields={f"line {number}": sentence})
