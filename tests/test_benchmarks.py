"""The benchmarks' own tools: the upstream stub and the load generator against each other."""

import asyncio
import http.client
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.answers import Answers, Behaviour
from benchmarks.figures import Figures, Latency, latency_of, percentile
from benchmarks.fill import fill
from benchmarks.framing import FramingError, Message, Partial, take_message
from benchmarks.load import Load, drive, name_users
from benchmarks.long_memory import Growth
from benchmarks.processes import commit_cost, usage
from benchmarks.report import Measured, Row, goals_of, markdown
from benchmarks.scale import Scale
from benchmarks.scale import report as scale_report
from benchmarks.targets import AgnoTarget, ChatTarget, Target, UpstreamTarget
from benchmarks.upstream import start
from webapp.storage import open_database

ROOT = Path(__file__).resolve().parent.parent
TEXT = "I say the same to everyone."


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a stub that runs in a loop of its own thread."""
    ready = threading.Event()
    ports: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    stop: list[asyncio.Event] = []

    async def serve() -> None:
        server = await start(Answers(Behaviour(), TEXT, pieces=3))
        ports.append(server.sockets[0].getsockname()[1])
        loops.append(asyncio.get_running_loop())
        stop.append(asyncio.Event())
        ready.set()
        await stop[0].wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(5)
    yield ports[0]
    loops[0].call_soon_threadsafe(stop[0].set)
    thread.join(5)


@pytest.fixture
def serve_chat() -> Iterator[Callable[[list[tuple[int, bytes]]], int]]:
    """Start a small chat server that gives these answers one after the other, over and over."""
    servers: list[ThreadingHTTPServer] = []

    def begin(answers: list[tuple[int, bytes]]) -> int:
        asked: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, body = answers[(len(asked) - 1) % len(answers)]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return int(server.server_address[1])

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def completion(**more: object) -> bytes:
    """A chat completion's request body."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def post(port: int, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, bytes]:
    """Status and body of one POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put_load(target: Target, port: int, **more: Any) -> Figures:
    """Drive a load of a few turns."""
    chosen: dict[str, Any] = {"connections": 3, "users": name_users(5), "seconds": 10.0}
    return asyncio.run(drive(target, Load("127.0.0.1", port, **{**chosen, **more})))


# The stub.


def test_a_whole_completion_has_the_text_and_adds_its_tokens_up(upstream: int) -> None:
    status, body = post(upstream, completion())

    answer = json.loads(body)
    usage_told = answer["usage"]
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == TEXT
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert usage_told["total_tokens"] == (
        usage_told["prompt_tokens"] + usage_told["completion_tokens"]
    )


def test_a_stream_is_made_of_deltas_that_add_up_then_a_stop_usage_and_done(upstream: int) -> None:
    _, body = post(upstream, completion(stream=True, stream_options={"include_usage": True}))

    events = body.decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert "".join(delta["delta"].get("content", "") for delta in deltas) == TEXT
    assert [d["finish_reason"] for d in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_a_stream_without_the_option_tells_no_usage(upstream: int) -> None:
    _, body = post(upstream, completion(stream=True))

    assert b"usage" not in body
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/echo/v1/chat/completions", "Hello"),
        ("/count/v1/chat/completions", "I see 2 messages in history"),
        ("/delay/1/count/v1/chat/completions", "I see 2 messages in history"),
    ],
)
def test_the_base_path_chooses_what_is_answered(upstream: int, path: str, said: str) -> None:
    _, body = post(upstream, completion(), path)

    assert json.loads(body)["choices"][0]["message"]["content"] == said


def test_a_delay_in_the_base_path_is_waited_for(upstream: int) -> None:
    started = time.perf_counter()
    status, _ = post(upstream, completion(), "/delay/60/v1/chat/completions")

    assert status == 200
    assert time.perf_counter() - started >= 0.06


def test_delayed_requests_sent_together_on_one_connection_are_answered_in_order(
    upstream: int,
) -> None:
    async def ask() -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream)
        for text, delay in (("first", 40), ("second", 1), ("third", 0)):
            body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            head = f"POST /delay/{delay}/echo/v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        said: list[str] = []
        received = b""
        while len(said) < 3:
            received += await reader.read(65536)
            while isinstance(message := take_message(received, reply=True), Message):
                received = message.rest
                said.append(json.loads(message.body)["choices"][0]["message"]["content"])
        writer.close()
        await writer.wait_closed()
        return said

    assert asyncio.run(ask()) == ["first", "second", "third"]


def test_a_chunked_body_in_small_pieces_is_understood_after_100_continue(upstream: int) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        body = completion()
        for at in range(0, len(body), 40):
            piece = body[at : at + 40]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return head

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"{}", "/v1/chat/completions", 400),
        (b'{"messages": [{"role": "user"', "/echo/v1/chat/completions", 400),
        (b"{}", "/v1/nothing", 404),
        (b"{}", "/delay/soon/v1/chat/completions", 404),
    ],
)
def test_what_is_no_completion_is_refused_in_the_envelope_of_openai(
    upstream: int, body: bytes, path: str, status: int
) -> None:
    refused, answer = post(upstream, body, path)

    assert refused == status
    assert json.loads(answer)["error"]["message"]


def test_the_models_and_the_stub_s_own_figures_can_be_asked_for(upstream: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=5)
    post(upstream, completion())
    connection.request("GET", "/v1/models")
    models = json.loads(connection.getresponse().read())
    connection.request("GET", "/stats")
    stats = json.loads(connection.getresponse().read())
    connection.close()

    assert [model["id"] for model in models["data"]] == ["stub"]
    assert (stats["turns"], stats["messages"]) == (1, 2)


def test_several_processes_share_one_port() -> None:
    command = [sys.executable, "-m", "benchmarks.upstream", "--processes", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
        statuses = {post(port, completion())[0] for _ in range(8)}
        process.terminate()
        # The output ends when the last process that holds it has ended.
        assert process.stdout.read() == ""

    assert statuses == {200}
    assert process.returncode == 0


# The load generator.


def test_every_turn_is_counted_once_and_connections_are_kept(upstream: int) -> None:
    figures = put_load(UpstreamTarget("x"), upstream, turns=60)

    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=5)
    connection.request("GET", "/stats")
    stats = json.loads(connection.getresponse().read())
    connection.close()
    assert figures.turns == stats["turns"] == 60
    assert figures.errors == {}
    assert stats["most_connections"] <= 4
    assert 0 < figures.latency.p50 <= figures.latency.p95 <= figures.latency.longest


def test_a_streamed_load_is_checked_to_its_end(upstream: int) -> None:
    figures = put_load(UpstreamTarget("x", stream=True), upstream, turns=20)

    assert (figures.turns, figures.errors) == (20, {})


def test_a_slow_upstream_is_measured_at_its_ideal_rate(upstream: int) -> None:
    target = UpstreamTarget("x", path="/delay/50/v1/chat/completions")
    figures = put_load(
        target, upstream, connections=10, seconds=0.5, warmup=0.15, ramp=0.05, turns=None
    )

    assert figures.latency.p50 >= 50
    assert 0 < figures.rate <= 10 / 0.05 * 1.2


def test_refusals_and_wrong_answers_are_counted_by_kind(
    serve_chat: Callable[[list[tuple[int, bytes]]], int],
) -> None:
    port = serve_chat([(200, b'{"reply": "Hi"}'), (429, b"{}"), (200, b'{"reply": ""}')])

    figures = put_load(ChatTarget("x"), port, connections=1, turns=9)

    assert figures.turns == 3
    assert figures.errors == {"status 429": 3, "wrong answer": 3}


def test_a_server_that_does_not_answer_in_time_is_counted_as_a_timeout(upstream: int) -> None:
    target = UpstreamTarget("x", path="/delay/30000/v1/chat/completions")

    figures = put_load(target, upstream, connections=2, turns=2, timeout=0.1)

    assert (figures.turns, figures.errors) == (0, {"timeout": 2})


def test_each_target_tells_an_answer_from_a_failure() -> None:
    done = b'event: delta\ndata: {"text":"Hi"}\n\nevent: done\ndata: {"reply":"Hi"}\n\n'
    failed = b'event: delta\ndata: {"text":"H"}\n\nevent: error\ndata: {"error":"no"}\n\n'

    assert ChatTarget("x").answered(b'{"reply":"Hi"}')
    assert not ChatTarget("x").answered(b'{"error":"no"}')
    assert not ChatTarget("x").answered(b"<html>")
    assert ChatTarget("x", stream=True).answered(done)
    assert not ChatTarget("x", stream=True).answered(failed)
    assert AgnoTarget("x").answered(b'{"content":"Hi","status":"COMPLETED"}')
    assert not AgnoTarget("x").answered(b'{"content":"no","status":"ERROR"}')


def test_a_request_names_the_user_to_whichever_server_is_asked() -> None:
    for target in (ChatTarget("x"), AgnoTarget("x"), UpstreamTarget("x")):
        message = take_message(target.request("alice", "Hello"))
        assert isinstance(message, Message)
        assert b"alice" in message.body
        assert message.rest == b""


# Framing and figures.


def test_a_message_is_cut_only_when_it_is_whole() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1"

    for end in range(data.index(b"ok") + 2):
        assert isinstance(take_message(data[:end], reply=True), Partial)
    message = take_message(data, reply=True)
    assert isinstance(message, Message)
    assert (message.body, message.rest) == (b"ok", b"HTTP/1.1")


def test_a_reply_without_a_length_ends_with_its_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nall of it"

    assert isinstance(take_message(data, reply=True), Partial)
    message = take_message(data, closed=True, reply=True)
    assert isinstance(message, Message)
    assert message.body == b"all of it"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_http_is_said_to_be_so(data: bytes) -> None:
    with pytest.raises(FramingError):
        take_message(data, reply=True)


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]

    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([], 0.5) == 0
    assert latency_of([0.002, 0.001]) == Latency(1.0, 2.0, 2.0, 2.0)


def test_the_use_of_a_tree_of_processes_is_read() -> None:
    code = "import time; sum(range(3_000_000)); print('ready', flush=True); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = usage(process.pid)
        process.terminate()

    assert used.processes == 1
    assert used.cpu > 0
    assert used.rss >= used.pss > 1_000_000


def test_durable_commits_are_timed_one_by_one(tmp_path: Path) -> None:
    taken = commit_cost(tmp_path, commits=3)

    assert len(taken) == 3
    assert min(taken) > 0


def test_the_report_gives_ratios_and_says_which_line_was_missed() -> None:
    row = Row("c16", "16 at once", 16, 1000)
    fresh = usage(0)
    results = [
        Measured("switchboard", row, Figures(9000, 10.0), fresh, 1.0, 3.0),
        Measured("agno", row, Figures(1000, 10.0), fresh, 1.0, 3.0),
        Measured("bare-gevent", row, Figures(40000, 10.0), fresh, 1.0, 1.0),
    ]

    growths = [Growth(10, 1.0, 2.0, 0.5, 1.0), Growth(100_000, 1.3, 2.0, 0.5, 1.3)]
    text = markdown(results, growths, "the command", "the machine")
    reached = {goal.title.split(",")[0]: goal.reached for goal in goals_of(results, growths)}

    assert "9.00 ×" in text
    assert reached["turns/s against agno"] is True
    assert reached["turns/s against bare-gevent"] is False
    assert reached["a turn with 100"] is False


# Filling.


def test_a_filled_database_has_the_asked_size_and_its_counters_agree_with_its_rows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "filled.db"
    for _ in fill(path, tenants=300, messages=4000, now_ms=1_795_000_000_000):
        pass

    connection = sqlite3.connect(path)
    try:
        counted = connection.execute(
            "SELECT count(*), sum(message_count), sum(request_count), sum(error_count),"
            " sum(refused_count), sum(total_tokens) FROM tenants"
        ).fetchone()
        stored = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        astray = connection.execute(
            "SELECT count(*) FROM tenants AS t JOIN sessions AS s ON s.tenant_id = t.id"
            " WHERE t.message_count <> s.message_count OR s.message_count <>"
            " (SELECT count(*) FROM messages AS m WHERE m.session = s.id)"
        ).fetchone()[0]
        sums = connection.execute(
            "SELECT sum(requests), sum(errors), sum(rate_limited),"
            " sum(input_tokens + output_tokens) FROM usage"
            " WHERE period = 'day' GROUP BY tenant_id = 0"
        ).fetchall()
        disordered = connection.execute(
            "SELECT count(*) FROM requests AS a JOIN requests AS b ON b.id = a.id + 1"
            " WHERE b.at < a.at"
        ).fetchone()[0]
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    finally:
        connection.close()

    assert counted[:2] == (300, 4000)
    assert stored == 4000
    assert astray == 0
    assert sums == [counted[2:], counted[2:]]
    assert disordered == 0
    assert broken == []
    assert mode == "wal"
    open_database(f"sqlite:///{path}").check()


def test_the_measurements_of_a_large_database_run_on_a_small_one_and_keep_it_consistent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "filled.db"
    for _ in fill(path, tenants=400, messages=2000, now_ms=1_795_000_000_000):
        pass
    database = open_database(f"sqlite:///{path}")
    try:
        results = list(Scale(database, 2, 1_795_000_000_000).measure(far_page=3))
        with database.read() as connection:
            (stored,) = connection.execute("SELECT count(*) FROM messages").fetchone()
            (counted,) = connection.execute("SELECT sum(message_count) FROM tenants").fetchone()
    finally:
        database.close()

    titles = [one.title for one in results]
    assert len(titles) == len(set(titles))
    for sort in ("-last_active_at", "user_id", "-message_count", "-request_count", "-error_count"):
        assert f"tenants by {sort}, first page" in titles
        assert f"tenants by {sort}, page 3" in titles
    assert stored == counted == 2000 + 2 * 2
    assert "30 ms" in scale_report(results, "a heading")


def test_a_database_that_is_there_already_is_not_filled(tmp_path: Path) -> None:
    path = tmp_path / "precious.db"
    path.write_text("mine")

    with pytest.raises(FileExistsError):
        list(fill(path, tenants=1, messages=2, now_ms=0))
    assert path.read_text() == "mine"
