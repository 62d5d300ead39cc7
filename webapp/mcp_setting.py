"""Reads the setting that lists MCP servers, or says in a clause what it must be.

The form is the one that other programs use, `{"mcpServers": {"name": {…}}}`: in the setting itself,
or in a file that it names. A list of servers with names will do as well. What stands for a value of
the environment is filled in later, by mcp_servers.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from webapp.setting_kinds import parse_duration
from webapp.settings_file import read_text, why

FILE_EXAMPLE = '{"mcpServers": {"name": {"command": "…", "args": ["…"]}}}'
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
# What other programs keep beside a server, and what means nothing here.
_OTHERS = ("alwaysAllow", "autoApprove", "description", "gallery", "icon", "title", "version")
_HTTP = ("http", "streamable-http", "streamable_http", "streamablehttp")


class ServerEntry(BaseModel):
    """One server as it is written down; references to the environment are still in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    name: str
    type: Literal["stdio", "http"] = "stdio"
    disabled: bool = False
    command: str = Field(default="", max_length=4096)
    args: tuple[str, ...] = Field(default=(), repr=False, max_length=1000, strict=False)
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = Field(default="", repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    prefix: str = Field(default="", max_length=40)
    include_tools: tuple[str, ...] | None = Field(default=None, alias="includeTools", strict=False)
    exclude_tools: tuple[str, ...] = Field(default=(), alias="excludeTools", strict=False)
    timeout: float = Field(default=30.0, gt=0, le=3600)
    send_user: bool = False
    requires_approval: bool | Annotated[tuple[str, ...], Field(strict=False)] = False

    @field_validator("timeout", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _kind(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = {name: value for name, value in given.items() if name not in _OTHERS}
        if "command" in found and "url" in found:
            raise ValueError("has a command and a url; keep one of them")
        if "command" not in found and "url" not in found:
            raise ValueError("has neither a command nor a url")
        kind = "http" if "url" in found else "stdio"
        told = str(found.get("type", kind)).lower()
        if told == "sse":
            raise ValueError("is of the type sse, which is given up; name its streamable HTTP url")
        if (told in _HTTP) != (kind == "http") or (kind == "stdio" and told != "stdio"):
            raise ValueError(f"has a {'url' if kind == 'http' else 'command'} and another type")
        theirs = ("headers",) if kind == "stdio" else ("args", "env", "cwd")
        if wrong := [name for name in theirs if name in found]:
            raise ValueError(f"has {wrong[0]}, which does not go with its type")
        return {**found, "type": kind}


def mcp_servers(text: str) -> tuple[ServerEntry, ...]:
    """The servers that the setting lists, those that are switched off left out."""
    given = _json(text if text.lstrip()[:1] in ("{", "[") else _file(text))
    entries = [_entry(name, fields) for name, fields in _named(given)]
    names = [entry.name.lower() for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"names the server {twice} twice")
    return tuple(entry for entry in entries if not entry.disabled)


def _file(path: str) -> str:
    try:
        return read_text(Path(path))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"must be JSON or name a file of it; the file cannot be read ({why(error)})"
        ) from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"must be JSON such as {FILE_EXAMPLE}") from None


def _named(given: Any) -> list[tuple[Any, Any]]:
    if isinstance(given, dict):
        inner = given.get("mcpServers", given.get("servers", given))
        if isinstance(inner, dict):
            return list(inner.items())
        given = inner
    if isinstance(given, list) and all(isinstance(each, dict) for each in given):
        return [(each.get("name"), each) for each in given]
    raise ValueError(f"must look like {FILE_EXAMPLE}")


def _entry(name: Any, fields: Any) -> ServerEntry:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise ValueError(
            "must give each server a name of at most 40 letters, digits, dots, '_' and '-'"
        )
    if not isinstance(fields, Mapping):
        raise ValueError(f"must look like {FILE_EXAMPLE}; {name} is no object")
    try:
        return ServerEntry.model_validate({**fields, "name": name})
    except ValidationError as error:
        raise ValueError(f"is wrong: the server {name} {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    """The first fault as the end of a sentence; what was written is not in it."""
    fault = error.errors(include_input=False, include_url=False)[0]
    # Where a value may be of two kinds, the first kind is named as well.
    place = ".".join(str(part) for part in fault["loc"] if part != "bool")[:80]
    if fault["type"] == "value_error":
        told = str(fault["ctx"]["error"])
        return f"has a wrong {place}: it {told}" if place else told
    if fault["type"] == "extra_forbidden":
        return f"has {place!r}, which is not known here"
    reason = str(fault["msg"]).replace("valid tuple", "list").replace("valid dictionary", "object")
    return f"has a wrong {place}: {reason[:1].lower()}{reason[1:]}"
