"""The transport to a server that is a process: one message a line, each way.

The package has one too. This one bounds what it reads, gives the process less of the environment,
ends it whatever becomes of this program, and writes nothing of a conversation into the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Fault
from webapp.agent.mcp.processes import Child
from webapp.agent.mcp.server import StdioServer
from webapp.agent.mcp.sieve import Sieve

_log = logging.getLogger("switchboard.mcp")

NEWLINE = b"\n"
_ID = re.compile(rb'"id"\s*:\s*(\d{1,18}|"[^"\\]{1,100}")')
_ENDS_BYTES = 512
# What a server tells beside its answers, and nobody here listens to.
_UNHEARD = ("notifications/message", "notifications/progress", "notifications/resources/updated")


class StdioTransport:
    """The streams to one process, which is started when they are entered."""

    def __init__(self, server: StdioServer) -> None:
        self._server = server
        self._words: deque[bytes] = deque()
        self.ended = asyncio.Event()
        self.patient = True  # whether the process is given time to end by itself
        self.fault: Fault | None = None
        self.sieve: Sieve | None = None

    @property
    def last_words(self) -> str:
        """The end of what the server wrote to its standard error, for the eyes of its operator."""
        return b"".join(self._words).decode(errors="replace").strip()

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Any, Any]]:
        """Raises `Fault` when the process cannot be started."""
        child = self._start()
        to_session, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        stdin, stdout, stderr = child.pipes()
        async with anyio.create_task_group() as tasks:
            writer = await _writer(stdin)
            tasks.start_soon(self._read, stdout, to_session)
            tasks.start_soon(_write, writer, from_session)
            tasks.start_soon(self._listen, stderr)
            try:
                self.sieve = Sieve(read)
                yield self.sieve, write
            finally:
                with anyio.CancelScope(shield=True):
                    writer.close()
                    read.close()
                    write.close()
                    await child.stop(patient=self.patient)
                tasks.cancel_scope.cancel()

    def _start(self) -> Child:
        server = self._server
        try:
            return Child(server.command, server.args, server.env, server.cwd)
        except FileNotFoundError:
            missing = server.cwd if server.cwd and not Path(server.cwd).is_dir() else server.command
            raise Fault(f"cannot be started: there is no {missing}") from None
        except PermissionError:
            raise Fault(f"cannot be started: {server.command} may not be run") from None
        except (OSError, ValueError) as error:
            raise Fault(f"cannot be started ({type(error).__name__})") from error

    async def _read(self, pipe: IO[bytes], to_session: Any) -> None:
        """Hands each message on, until the process has said its last."""
        reader, transport = await _reader(pipe, bounds.MESSAGE_MAX_BYTES)
        lines = _Lines(to_session)
        try:
            async with to_session:
                while (line := await _line(reader)) is not None:
                    await lines.take(line)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody reads any more
        except Fault as fault:
            self.fault = fault
        finally:
            self.ended.set()
            transport.close()

    async def _listen(self, pipe: IO[bytes]) -> None:
        """Keeps the last of what the process writes to its standard error."""
        reader, transport = await _reader(pipe, bounds.LAST_WORDS_BYTES)
        size = 0
        try:
            while data := await reader.read(bounds.LAST_WORDS_BYTES):
                self._words.append(data)
                size += len(data)
                while size - len(self._words[0]) > bounds.LAST_WORDS_BYTES:
                    size -= len(self._words.popleft())
        finally:
            transport.close()


class _Lines:
    """What becomes of each line of the server."""

    def __init__(self, to_session: Any) -> None:
        self._to_session = to_session
        self._rubbish_lines = self._rubbish_bytes = 0
        self._asking = float(bounds.ASKING_MAX)
        self._asked_at = asyncio.get_running_loop().time()

    async def take(self, line: bytes | _TooLong) -> None:
        if isinstance(line, _TooLong):
            await self._refuse(line)
            return
        if not line.strip():
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._rubbish(len(line))
            return
        self._rubbish_lines = self._rubbish_bytes = 0
        if isinstance(message, JSONRPCNotification) and message.method in _UNHEARD:
            return
        if isinstance(message, JSONRPCRequest):
            self._asks()
        await self._to_session.send(SessionMessage(message))

    async def _refuse(self, line: _TooLong) -> None:
        """A message that was too long is an error to the call that it answers."""
        request = line.request
        if request is None:
            raise Fault("sends messages that are too long")
        error = ErrorData(code=INTERNAL_ERROR, message=bounds.TOO_LONG)
        answer = JSONRPCError(jsonrpc="2.0", id=request, error=error)
        await self._to_session.send(SessionMessage(answer))

    def _rubbish(self, size: int) -> None:
        if not self._rubbish_lines:
            _log.debug("an MCP server wrote a line that is no message")
        self._rubbish_lines += 1
        self._rubbish_bytes += size
        if (
            self._rubbish_lines > bounds.RUBBISH_MAX_LINES
            or self._rubbish_bytes > bounds.RUBBISH_MAX_BYTES
        ):
            raise Fault("writes to its standard output what is no message")

    def _asks(self) -> None:
        now = asyncio.get_running_loop().time()
        refilled = self._asking + (now - self._asked_at) * bounds.ASKING_A_SECOND
        self._asking = min(refilled, bounds.ASKING_MAX) - 1
        self._asked_at = now
        if self._asking < 0:
            raise Fault("asks too much")


class _TooLong:
    """A line that was not kept; of it its ends, in one of which the id of its request stands."""

    def __init__(self, begin: bytes, end: bytes) -> None:
        found = _ID.search(begin) or _ID.search(end)
        self.request: int | str | None = None
        if found is not None:
            text = found[1].decode(errors="replace")
            self.request = text.strip('"') if text.startswith('"') else int(text)


async def _line(reader: asyncio.StreamReader) -> bytes | _TooLong | None:
    """The next line; None at the end."""
    begin = end = b""
    while True:
        try:
            line = await reader.readuntil(NEWLINE)
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as overrun:
            passed = await reader.readexactly(overrun.consumed)
            begin = begin or passed[:_ENDS_BYTES]
            end = (end + passed)[-_ENDS_BYTES:]
            continue
        return _TooLong(begin, (end + line)[-_ENDS_BYTES:]) if begin else line


async def _write(writer: asyncio.StreamWriter, from_session: Any) -> None:
    try:
        async with from_session:
            async for sent in from_session:
                message = sent.message
                text = message.model_dump_json(by_alias=True, exclude_unset=True)
                writer.write(text.encode() + NEWLINE)
                await writer.drain()
    except OSError:
        pass  # the process has gone, which its output tells


async def _reader(pipe: IO[bytes], limit: int) -> tuple[asyncio.StreamReader, Any]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport


async def _writer(pipe: IO[bytes]) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
