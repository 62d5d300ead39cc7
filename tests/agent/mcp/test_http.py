"""Tools of a server at an address, on good days and on bad ones."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from tests.fakes import until
from webapp.agent import MCPToolkit
from webapp.agent.mcp import bounds
from webapp.agent.tools import ToolResult

Answer = tuple[int, dict[str, str], bytes]
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


class Rough:
    """A server by hand, of the older protocol, with sessions; `wrong` answers in its place."""

    def __init__(self) -> None:
        self.wrong: Callable[[dict[str, Any]], Answer | None] = lambda message: None
        self.sessions: set[str] = set()
        self.seen: list[dict[str, str]] = []
        self.calls = 0

    def answer(self, message: dict[str, Any], headers: dict[str, str]) -> Answer:
        self.seen.append(headers)
        wrong = self.wrong(message)
        if wrong is not None:
            return wrong
        method = message.get("method", "")
        if "id" not in message:
            return 202, {}, b""
        if method == "initialize":
            session = f"session-{len(self.seen)}"
            self.sessions.add(session)
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "rough", "version": "1"},
            }
            return said(message, result, {"Mcp-Session-Id": session})
        if method == "server/discover":
            return 400, {}, b""
        if headers.get("mcp-session-id") not in self.sessions:
            return 404, {}, b""
        if method == "tools/list":
            return said(message, {"tools": [{"name": "ask", "inputSchema": NOTHING}]})
        self.calls += 1
        return said(message, {"content": [{"type": "text", "text": "answered"}]})


def said(message: dict[str, Any], result: Any, headers: dict[str, str] | None = None) -> Answer:
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    return 200, {"Content-Type": "application/json", **(headers or {})}, body


@contextmanager
def listening(rough: Rough, port: int = 0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # a connection for each answer

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            message = json.loads(self.rfile.read(size))
            given = {name.lower(): value for name, value in self.headers.items()}
            self.reply(*rough.answer(message, given))

        def do_GET(self) -> None:
            self.reply(405, {}, b"")

        def do_DELETE(self) -> None:
            self.reply(200, {}, b"")

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hung up

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def rough() -> Rough:
    return Rough()


@pytest.fixture
def kit(rough: Rough) -> Iterator[MCPToolkit]:
    with (
        listening(rough) as url,
        MCPToolkit.http(url, headers={"Authorization": "Bearer s3cret"}, name="far") as made,
    ):
        yield made


def ask(kit: MCPToolkit) -> ToolResult:
    (tool,) = kit.known_tools or kit.tools
    return tool.run("{}")


def of_calls(answer: Answer) -> Callable[[dict[str, Any]], Answer | None]:
    return lambda message: answer if message.get("method") == "tools/call" else None


def test_it_is_asked_with_its_headers_and_a_forgotten_session_is_made_anew(
    kit: MCPToolkit, rough: Rough
) -> None:
    assert ask(kit) == ToolResult("answered", ok=True)
    assert {each["authorization"] for each in rough.seen} == {"Bearer s3cret"}
    rough.sessions.clear()
    assert ask(kit) == ToolResult("answered", ok=True)
    assert rough.calls == 2


LONG = json.dumps({"x": "y" * (bounds.MESSAGE_MAX_BYTES + 10)}).encode()
JSON = {"Content-Type": "application/json"}
REFUSED = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "Name a city."}}
).encode()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((401, {}, b"wrong key s3cret"), "refuses the credential that it was sent (401)"),
        ((500, {}, b"Traceback: s3cret"), "fails (500)"),
        ((599, {}, b""), "fails (599)"),
        ((400, JSON, REFUSED), "Error: ask failed: Name a city."),
        ((302, {"Location": "http://127.0.0.1:9/other"}, b""), "sends us to another address"),
        ((200, JSON, LONG), "The answer is longer than 8 MiB"),
        ((200, JSON, b"no json"), "ask failed"),
        ((200, {"Content-Type": "text/html"}, b"<p>hello"), "ask failed"),
        ((202, {}, b""), "ask failed"),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_its_call_alone(
    answer: Answer, sentence: str, kit: MCPToolkit, rough: Rough
) -> None:
    assert ask(kit).ok
    connections = len(rough.sessions)
    rough.wrong = of_calls(answer)
    failed = ask(kit)
    assert not failed.ok
    assert sentence in failed.content
    assert "s3cret" not in failed.content
    rough.wrong = lambda message: None
    assert ask(kit).ok
    assert len(rough.sessions) == connections


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((401, {}, b""), "refuses the credential that it was sent (401)"),
        ((404, {}, b""), "has nothing at this address (404)"),
        ((503, {}, b""), "fails (503)"),
        (
            (308, {"Location": "https://other.example.org/mcp"}, b""),
            "sends us to another address; name that one instead",
        ),
        ((200, {"Content-Encoding": "gzip", **JSON}, b"x"), "compresses its answers"),
    ],
)
def test_a_server_that_refuses_from_the_beginning_is_away_and_says_why(
    answer: Answer, fault: str, kit: MCPToolkit, rough: Rough
) -> None:
    rough.wrong = lambda message: answer
    assert kit.tools == ()
    assert kit.standing.state == "away"
    assert kit.standing.fault.startswith(fault)


def test_a_server_that_stops_is_away_and_comes_back(rough: Rough) -> None:
    with listening(rough) as url:
        kit = MCPToolkit.http(url, name="far")
        assert ask(kit).ok
    with kit:
        assert ask(kit).content == ("Error: The MCP server far cannot be reached (ConnectError).")
        until(lambda: kit.standing.state == "away")
        with listening(rough, int(url.split(":")[2].split("/")[0])):
            assert ask(kit).ok
            assert kit.standing.state == "connected"


def test_a_server_as_the_package_makes_one(tmp_path: Any) -> None:
    real = MCPServer("real")

    @real.tool()
    def add(a: int, b: int) -> dict[str, int]:
        """Adds two numbers."""
        return {"sum": a + b}

    @real.tool()
    async def grow(context: Context) -> str:
        """Has one tool more."""
        real.add_tool(lambda: "new", name="fresh")
        await context.notify_tools_changed()
        return "grown"

    with socket.create_server(("127.0.0.1", 0)) as place:
        app = real.streamable_http_app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        with MCPToolkit.http(f"http://127.0.0.1:{place.getsockname()[1]}/mcp") as kit:
            tool, grow_tool = kit.tools
            assert tool.spec.description == "Adds two numbers."
            assert json.loads(tool.run('{"a": 1, "b": 2}').content) == {"sum": 3}
            assert tool.run('{"a": 1, "b": "two"}').content.startswith(
                "Error: The argument 'b' of add is wrong"
            )
            assert grow_tool.run("").content == "grown"
            until(lambda: len(kit.tools) == 3)
        server.should_exit = True
        thread.join(10)
