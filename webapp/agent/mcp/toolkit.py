"""`MCPToolkit`: the tools of an MCP server, as an agent uses them."""

from __future__ import annotations

import contextvars
import importlib.util
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from webapp.agent.mcp import bounds
from webapp.agent.mcp.faults import Away
from webapp.agent.mcp.server import (
    DEFAULT_TIMEOUT,
    HTTPServer,
    StdioServer,
    Use,
    checked_url,
    texts,
    use_of,
)
from webapp.agent.mcp.standing import Standing, now_ms
from webapp.agent.parts import is_text
from webapp.agent.run_context import RunContext
from webapp.agent.tools import Tool, ToolError
from webapp.errors import ConfigurationError

if TYPE_CHECKING:
    from webapp.agent.mcp.connection import Connection
    from webapp.agent.mcp.listing import Listed, Listing

MISSING = 'MCP needs the package mcp; install it with: pip install "switchboard-agent[mcp]".'
WAIT_SLICE_SECONDS = 0.1
GRACE_SECONDS = 2.0  # beyond a call's time, for hearing how it ended


class MCPToolkit:
    """The tools of one MCP server, for any number of agents and threads.

    It connects when an agent first asks for its tools, in the background, and for good: a server
    that has died is started, or asked, again. Turns go on without the tools of one that is away.
    `close` ends the connection and the process; using the tools again connects again.
    """

    def __init__(
        self, name: str, server: StdioServer | HTTPServer | None = None, use: Use | None = None
    ) -> None:
        """Raises `ConfigurationError` without the package `mcp`; see `stdio` and `http`."""
        if not is_text(name) or not name.strip():
            raise ConfigurationError("A toolkit needs a name.")
        if server is None or is_text(server):
            raise ConfigurationError(
                'Write MCPToolkit.stdio("program", ["argument"]) or MCPToolkit.http("https://…").'
            )
        if importlib.util.find_spec("mcp") is None:
            raise ConfigurationError(MISSING)
        self.name = name
        self.server = server
        self.use = use or Use()
        self.standing = Standing()
        self._lock = threading.Lock()
        self._tried = threading.Event()
        self._began = 0.0
        self._process = 0
        self._connection: Connection | None = None
        self._kept: Future[None] | None = None

    @classmethod
    def stdio(
        cls,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        name: str = "",
        prefix: str = "",
        include_tools: Iterable[str] | None = None,
        exclude_tools: Iterable[str] = (),
        timeout: float = DEFAULT_TIMEOUT,
        send_user: bool = False,
        requires_approval: bool | Iterable[str] = False,
    ) -> Self:
        """A server that is a program, started by this one and ended with it.

        Of the environment it is given only what every program needs, such as PATH, and `env`.
        The further arguments are those of `http`.
        """
        if not is_text(command) or not command.strip():
            raise ConfigurationError("MCPToolkit.stdio needs a command, such as 'python'.")
        if is_text(args) or not all(map(is_text, args)):
            raise ConfigurationError("args must be a list of texts, such as ['-m', 'my_server'].")
        folder = None if cwd is None else str(cwd)
        server = StdioServer(command, tuple(args), texts("env", env), folder)
        use = use_of(
            prefix=prefix,
            include_tools=include_tools,
            exclude_tools=exclude_tools,
            timeout=timeout,
            send_user=send_user,
            requires_approval=requires_approval,
        )
        return cls(name or Path(command).name, server, use)

    @classmethod
    def http(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "",
        prefix: str = "",
        include_tools: Iterable[str] | None = None,
        exclude_tools: Iterable[str] = (),
        timeout: float = DEFAULT_TIMEOUT,
        send_user: bool = False,
        requires_approval: bool | Iterable[str] = False,
    ) -> Self:
        """A server at an address, by streamable HTTP.

        `name` is the toolkit's, else the host's. `prefix` goes before the names of the tools;
        `include_tools` and `exclude_tools` say which of them are used; a call takes no longer than
        `timeout` seconds, 30 if nothing is said; with `send_user=True` the server is told, in
        `_meta`, whose turn it is; with `requires_approval=True`, or the names of some tools, a
        person has to approve their calls.
        """
        server = HTTPServer(checked_url(url), texts("headers", headers))
        use = use_of(
            prefix=prefix,
            include_tools=include_tools,
            exclude_tools=exclude_tools,
            timeout=timeout,
            send_user=send_user,
            requires_approval=requires_approval,
        )
        return cls(name or urlsplit(url).hostname or "mcp", server, use)

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """The tools that there are now. The first time the server is waited for, but not for long;
        one that is away has none."""
        return self.tools_now()

    def tools_now(self, context: RunContext | None = None) -> tuple[Tool[..., Any], ...]:
        """The same for a run, which does not wait once it is called off."""
        self.start()
        self._wait_once(context)
        standing = self.standing
        return standing.tools if standing.usable else ()

    @property
    def known_tools(self) -> tuple[Tool[..., Any], ...]:
        """Those of now, or, of a server that is away, those that it had."""
        return self.standing.tools

    def start(self) -> None:
        """Begins to connect, if it has not begun yet, and waits for nothing."""
        if self._is_kept():
            return
        # Imported here, as `mcp` is, for programs that use none.
        from webapp.agent.event_loop import SHARED

        with self._lock:
            if self._is_kept():
                return
            self._tried.clear()
            self._began = time.monotonic()
            self._connection, self._process = None, os.getpid()
            self.standing = Standing.starting()
            # Not in the context of the request that came first: others will use it.
            self._kept = contextvars.Context().run(SHARED.submit, self._keep)

    def wait(self, seconds: float) -> Standing:
        """How the server is when the first try has ended, or the time has run out."""
        self.start()
        self._tried.wait(seconds)
        return self.standing

    @property
    def last_words(self) -> str:
        """What a server's process wrote last to its standard error. It may hold secrets."""
        connection = self._connection
        return connection.last_words if connection is not None else ""

    def close(self) -> None:
        """Ends the connection and the server's process; it may be called again."""
        self.begin_to_close()
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None:
            return
        try:
            kept.result(bounds.CLOSE_SECONDS)
        except (Exception, CancelledError):  # noqa: BLE001  # it is to end, in whatever way
            kept.cancel()
        self.standing = Standing(since_ms=now_ms(), last_fault=self.standing.last_fault)

    def begin_to_close(self) -> None:
        """Lets the server go and waits for nothing, so that several may end together."""
        from webapp.agent.event_loop import SHARED

        connection = self._connection
        if connection is not None and self._is_kept():
            SHARED.running().call_soon_threadsafe(connection.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MCPToolkit({self.name!r}, {self.server.kind}, {self.standing.state})"

    def _is_kept(self) -> bool:
        """Whether the connection is under way, in this process: a fork has none of its own."""
        kept = self._kept
        return kept is not None and not kept.done() and self._process == os.getpid()

    async def _keep(self) -> None:
        await self._made().keep()

    def _made(self) -> Connection:
        """The connection, made on the event loop by who comes first."""
        from webapp.agent.mcp.connection import Connection

        if self._connection is None:
            self._connection = Connection(self.name, self.server, self.use, self._publish)
        return self._connection

    def _publish(self, news: Listing | Away) -> None:
        before = self.standing
        if isinstance(news, Away):
            self.standing = before.without(self.name, news)
        else:
            tools = tuple(map(self._tool, news.tools))
            self.standing = before.connected(self.name, tools, news.faults)
        self._tried.set()

    def _wait_once(self, context: RunContext | None) -> None:
        """Waits for the end of the first try, as long as turns may; later there is no waiting."""
        until = self._began + bounds.FIRST_WAIT_SECONDS
        while not self._tried.is_set():
            left = until - time.monotonic()
            if context is not None and context.deadline is not None:
                left = min(left, context.deadline.left)
            if left <= 0 or (context is not None and context.cancelled):
                return
            self._tried.wait(min(left, WAIT_SLICE_SECONDS))

    def _tool(self, listed: Listed) -> Tool[..., Any]:
        def call(arguments: dict[str, Any], context: RunContext | None) -> str:
            return self._call(listed.remote, arguments, context)

        return Tool(
            listed.name,
            listed.description,
            call,
            listed.arguments,
            self.use.timeout,
            self.use.needs_approval(listed.remote),
        )

    def _call(self, tool: str, arguments: dict[str, Any], context: RunContext | None) -> str:
        import asyncio

        from webapp.agent.event_loop import SHARED, CalledOff
        from webapp.agent.mcp.results import text_of

        self.start()
        seconds = self.use.timeout
        if context is not None and context.deadline is not None:
            seconds = min(seconds, context.deadline.left)
        meta = self._meta(context)

        async def asked() -> Any:
            # A belt beside the package's own: nothing here waits for ever.
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                return await self._made().calls.call(tool, arguments, meta, seconds)

        try:
            result = SHARED.run(asked, None if context is None else lambda: context.cancelled)
        except CalledOff:
            raise ToolError(f"{tool} was called off.") from None
        except TimeoutError:
            raise ToolError(f"{tool} did not answer in time.") from None
        text = text_of(result)
        if result.is_error:
            raise ToolError(text or f"{tool} failed.")
        return text

    def _meta(self, context: RunContext | None) -> dict[str, str] | None:
        if not self.use.send_user or context is None:
            return None
        return {
            "switchboard/user_id": context.user_id,
            "switchboard/session_id": context.session_id,
            "switchboard/run_id": context.run_id,
            "switchboard/idempotency_key": context.idempotency_key,
        }
