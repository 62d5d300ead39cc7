"""The values that a conversation is made of; not how they are stored or sent to a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from os import urandom
from typing import Any, Literal, cast

Role = Literal["system", "user", "assistant", "tool"]
_UUID_RANDOM = ~(0xF000 << 64) & ~(0xC000 << 48)
_UUID_VERSION_4 = (0x4000 << 64) | (0x8000 << 48)
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


def random_uuid() -> str:
    """A random UUID (RFC 9562, version 4) as text; `str(uuid4())` takes twice as long."""
    digits = f"{int.from_bytes(urandom(16), 'big') & _UUID_RANDOM | _UUID_VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_message_id() -> str:
    """A fresh id, `msg-` and a random UUID."""
    return f"msg-{random_uuid()}"


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a function run; `arguments` is the JSON text as the model wrote it.

    Two fields live as long as their turn and are not stored: `extra` is what the model's server
    wants back with the call, and `fault` a sentence why the call cannot be run.
    """

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    fault: str = field(default="", compare=False)

    def as_dict(self) -> dict[str, object]:
        """The shape that OpenAI's API and ours use."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> ToolCall:
        """Reads what `as_dict` wrote; raises KeyError or TypeError on anything else."""
        function = cast("dict[str, object]", data["function"])
        return cls(str(data["id"]), str(function["name"]), str(function["arguments"]))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; a value that never changes.

    `created_at_ms` is milliseconds since 1970-01-01 UTC. Two messages are equal when all their
    fields are, the id included, but for `extra`: it is what the model's server wants back with
    the message while the turn goes on, and is not stored.
    """

    role: Role
    content: str
    id: str = field(default_factory=new_message_id)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    created_at_ms: int = field(default_factory=now_ms)
    extra: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")
        if not self.id:
            object.__setattr__(self, "id", new_message_id())

    @property
    def created_at(self) -> datetime:
        """When it came into being, in UTC."""
        return datetime.fromtimestamp(self.created_at_ms / 1000, UTC)

    @classmethod
    def stored(
        cls,
        role: Role,
        content: str,
        message_id: str,
        tool_calls: tuple[ToolCall, ...],
        tool_call_id: str | None,
        created_at_ms: int,
    ) -> Message:
        """A message as a store gives it back: nothing is checked, for half the cost of a new one.

        A turn reads a hundred of them.
        """
        message = object.__new__(cls)
        _set_role(message, role)
        _set_content(message, content)
        _set_id(message, message_id)
        _set_tool_calls(message, tool_calls)
        _set_tool_call_id(message, tool_call_id)
        _set_created_at_ms(message, created_at_ms)
        _set_extra(message, None)
        return message

    @classmethod
    def system(cls, content: str) -> Message:
        return cls("system", content)

    @classmethod
    def user(cls, content: str) -> Message:
        return cls("user", content)

    @classmethod
    def assistant(
        cls,
        content: str,
        *,
        tool_calls: tuple[ToolCall, ...] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> Message:
        return cls("assistant", content, tool_calls=tuple(tool_calls), extra=extra)

    @classmethod
    def tool(cls, content: str, *, tool_call_id: str) -> Message:
        """The result of the call `tool_call_id`."""
        return cls("tool", content, tool_call_id=tool_call_id)


# A frozen dataclass sets its fields by name; the slots themselves take half the time.
(
    _set_role,
    _set_content,
    _set_id,
    _set_tool_calls,
    _set_tool_call_id,
    _set_created_at_ms,
    _set_extra,
) = (vars(Message)[each.name].__set__ for each in fields(Message))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model's server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )
