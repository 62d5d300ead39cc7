"""Takes out of a list of tools those that are none, so that they do not spoil the others.

The package checks a list as a whole.
"""

from __future__ import annotations

from typing import Any, Self

from mcp_types import JSONRPCResponse, Tool
from pydantic import ValidationError

from webapp.storable import storable

NAME_MAX_CHARS = 64


class Sieve:
    """Stands before the stream of messages from a server; `left_out` says what was taken out."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.left_out: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Any:
        return self._sieved(await self._stream.receive())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return self._sieved(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> Any:
        return await self._stream.__aexit__(*failure)

    def _sieved(self, item: Any) -> Any:
        answer = getattr(item, "message", None)
        if isinstance(answer, JSONRPCResponse) and isinstance(answer.result.get("tools"), list):
            answer.result["tools"] = list(filter(self._passes, answer.result["tools"]))
        return item

    def _passes(self, tool: object) -> bool:
        name = tool.get("name") if isinstance(tool, dict) else None
        try:
            if not isinstance(tool, dict) or not isinstance(name, str) or not name.strip():
                self.left_out.append("A tool without a name is left out.")
                return False
            schema = tool.get("inputSchema")
            if isinstance(schema, dict):
                schema.setdefault("type", "object")
            if not isinstance(schema, dict) or schema["type"] != "object":
                self._leave_out(name, "has a schema that is not an object's")
                return False
            Tool.model_validate(tool, by_name=False)
        except ValidationError:
            self._leave_out(str(name), "is not described as MCP wants it")
            return False
        return True

    def _leave_out(self, name: str, why: str) -> None:
        self.left_out.append(f"{shown(name)} {why}, and is left out.")


def shown(name: str) -> str:
    """A tool's name in a sentence."""
    return repr(storable(name[:NAME_MAX_CHARS]))
