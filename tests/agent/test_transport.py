"""How requests reach the model's server and answers come back, on real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from tests.fakes import until
from tests.slow_servers import (
    END,
    EVENT_STREAM,
    OPEN_STREAM,
    USAGE,
    Asked,
    RawServer,
    Speak,
    event,
    raw_server,
    said,
)
from tests.upstream import completion
from webapp.agent import ModelReply, ModelRequest, OpenAIModel
from webapp.agent.http.call import Call
from webapp.agent.http.head import Head, Unsendable
from webapp.agent.http.idle import IdleConnections
from webapp.agent.http.names import Names
from webapp.agent.http.transport import KeptAliveTransport
from webapp.errors import ModelError, ModelTimeout
from webapp.messages import Message, Usage

KEY = "the-secret-key"
HELLO = ModelRequest([Message.user("hi")])
MOVED = "307 Temporary Redirect"


def model_at(base_url: str, **options: Any) -> OpenAIModel:
    return OpenAIModel("m", api_key=KEY, base_url=base_url, **{"timeout": 5.0, **options})


def whole(model: OpenAIModel) -> ModelReply:
    try:
        return model.complete(HELLO)
    finally:
        model.close()


def streamed(model: OpenAIModel) -> ModelReply:
    try:
        *_, reply = model.stream(HELLO)
    finally:
        model.close()
    assert isinstance(reply, ModelReply)
    return reply


Ask = Callable[[OpenAIModel], ModelReply]
both = pytest.mark.parametrize("ask", [whole, streamed])


def refuse_then_say(*fields: str, status: str = "503 Service Unavailable") -> Speak:
    """The first request is refused with these fields, the others are answered."""
    first = threading.Event()

    def speak(asked: Asked) -> None:
        if first.is_set():
            asked.say("at last")
        else:
            first.set()
            asked.answer(b"{}", status, *fields)

    return speak


# -- redirects ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("location", ["/moved/v1/chat?a=1", "../../moved/v1/chat?a=1", "{base}"])
def test_a_redirect_is_followed_with_method_body_and_credential(
    ask: Ask, status: str, location: str
) -> None:
    def speak(asked: Asked) -> None:
        if asked.target.startswith("/v1"):
            place = location.format(base=f"{server.base_url[:-3]}/moved/v1/chat?a=1")
            asked.answer(b"", status, f"Location: {place}")
        else:
            asked.say("found")

    with raw_server(speak) as server:
        assert ask(model_at(server.base_url)).content == "found"
    first, second = server.asked
    assert (second.method, second.body) == ("POST", first.body)
    assert second.target.endswith("moved/v1/chat?a=1")
    assert first.head["authorization"] == second.head["authorization"] == f"Bearer {KEY}"


@both
def test_a_name_and_a_password_in_the_address_are_the_credential(ask: Ask) -> None:
    with raw_server(lambda asked: asked.say("hello")) as server:
        base_url = server.base_url.replace("http://", "http://ada:pa%40ss@")
        assert ask(model_at(base_url)).content == "hello"
    expected = b64encode(b"ada:pa@ss").decode()
    assert server.asked[0].head["authorization"] == f"Basic {expected}"


def test_a_line_end_in_a_field_is_not_sent() -> None:
    request = httpx2.Request(
        "POST", "http://127.0.0.1:9/v1", headers=[(b"x-a", b"b\r\nx-c: d")], content=b"{}"
    )
    with pytest.raises(Unsendable, match="line end"):
        Head.of_request(request)


@both
def test_another_origin_is_not_told_who_we_are(ask: Ask) -> None:
    with (
        raw_server(lambda asked: asked.say("elsewhere")) as other,
        raw_server(
            lambda asked: asked.answer(b"", MOVED, f"Location: {other.base_url}/x")
        ) as server,
    ):
        model = model_at(f"{server.base_url}?key=hidden")
        model.client = model.client.with_options(default_headers={"X-Api-Key": KEY})
        assert ask(model).content == "elsewhere"
    (asked,) = other.asked
    assert KEY not in json.dumps(asked.head)
    assert "hidden" not in asked.target
    assert server.asked[0].head["x-api-key"] == KEY
    assert asked.body == server.asked[0].body


def test_coming_back_from_another_origin_brings_no_credential_back() -> None:
    def speak(asked: Asked) -> None:
        if asked.target.startswith("/v1"):
            asked.answer(b"", MOVED, f"Location: {other.base_url}/x")
        else:
            asked.say("back")

    with (
        raw_server(speak) as server,
        raw_server(
            lambda asked: asked.answer(b"", MOVED, f"Location: {server.base_url[:-3]}/again")
        ) as other,
    ):
        assert whole(model_at(server.base_url)).content == "back"
    assert "authorization" not in server.asked[-1].head


@both
@pytest.mark.parametrize(
    "fields",
    [
        ["Location: /v1/chat/completions"],
        ["Location: ftp://127.0.0.1/v1"],
        ["Location: http://"],
        ["Location: http://[::bad/"],
        ["Location: "],
        [],
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_error(ask: Ask, fields: list[str]) -> None:
    with (
        raw_server(lambda asked: asked.answer(b"", MOVED, *fields)) as server,
        pytest.raises(ModelError),
    ):
        ask(model_at(server.base_url))
    assert len(server.asked) <= 6


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other"])
def test_a_redirect_that_would_lose_the_body_is_an_error(status: str) -> None:
    with (
        raw_server(lambda asked: asked.answer(b"", status, "Location: /other")) as server,
        pytest.raises(ModelError),
    ):
        whole(model_at(server.base_url))
    assert len(server.asked) == 1


def test_the_check_follows_redirects_and_keeps_the_query() -> None:
    def speak(asked: Asked) -> None:
        if asked.target.startswith("/v1"):
            asked.answer(b"", "302 Found", "Location: /other/models")
        else:
            asked.answer(b'{"data": []}')

    with raw_server(speak) as server:
        model = model_at(f"{server.base_url}?api-version=7")
        model.check()
        model.close()
    assert [asked.target for asked in server.asked] == ["/v1/models?api-version=7", "/other/models"]


# -- where it goes ------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("{}?a=b", "/v1/chat/completions?a=b"),
        ("{}/?a=b", "/v1/chat/completions?a=b"),
        ("{}?a=b&c=%2Fd", "/v1/chat/completions?a=b&c=%2Fd"),
        ("{}/", "/v1/chat/completions"),
        ("{}///", "/v1/chat/completions"),
    ],
)
def test_the_query_of_the_base_url_goes_with_every_call(ask: Ask, base: str, target: str) -> None:
    with raw_server(lambda asked: asked.say("ok")) as server:
        assert ask(model_at(base.format(server.base_url))).content == "ok"
    assert [asked.target for asked in server.asked] == [target]


# -- pauses -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "fields",
    [
        ["Retry-After: 0.2"],
        ["Retry-After: 0"],
        ["Retry-After: -3"],
        ["Retry-After: soon"],
        ["Retry-After: nan"],
        ["retry-after-ms: 150", "Retry-After: 100"],
        ["retry-after-ms: x", "Retry-After: 0.1"],
        ["Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"],
        ["Retry-After: Wed, 99 Oct 99999 07:28:00 GMT"],
        ["Date: Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After: Wed, 21 Oct 2015 07:28:01 GMT"],
        ["Date: Wed, 21 Oct 2093 07:28:00 GMT", "Retry-After: Wed, 21 Oct 2093 07:28:01 GMT"],
        ["x-should-retry: true"],
        [],
    ],
)
def test_a_pause_that_makes_sense_is_kept_and_the_request_sent_again(
    ask: Ask, fields: list[str]
) -> None:
    with raw_server(refuse_then_say(*fields)) as server:
        assert ask(model_at(server.base_url, max_retries=1)).content == "at last"


def test_the_pause_is_as_long_as_the_server_wants() -> None:
    day = "Wed, 21 Oct 2015"
    for fields, seconds in (
        (["retry-after-ms: 700"], 0.7),
        ([f"Date: {day} 07:28:00 GMT", f"Retry-After: {day} 07:28:01 GMT"], 1.0),
    ):
        with raw_server(refuse_then_say(*fields)) as server:
            began = time.monotonic()
            assert whole(model_at(server.base_url, max_retries=1)).content == "at last"
            assert time.monotonic() - began >= seconds


@both
@pytest.mark.parametrize(
    "field",
    [
        "Retry-After: 9",
        "Retry-After: 9.5",
        "Retry-After: inf",
        "Retry-After: 1e400",
        "Retry-After: 99999999999999999999",
        "retry-after-ms: 9000",
        "Retry-After: Wed, 21 Oct 2093 07:28:00 GMT",
        "x-should-retry: false",
    ],
)
def test_a_pause_that_is_too_long_is_not_waited_for(ask: Ask, field: str) -> None:
    began = time.monotonic()
    with (
        raw_server(refuse_then_say(field, status="429 Too Many Requests")) as server,
        pytest.raises(ModelError),
    ):
        ask(model_at(server.base_url, max_retries=2))
    assert len(server.asked) == 1
    assert time.monotonic() - began < 3


def test_a_hang_up_ends_the_pause() -> None:
    cancel = threading.Event()
    with raw_server(refuse_then_say("Retry-After: 4")) as server:
        model = model_at(server.base_url)
        threading.Timer(0.2, cancel.set).start()
        began = time.monotonic()
        with pytest.raises(ModelError):
            model.complete(ModelRequest(HELLO.messages, cancel=cancel))
        assert time.monotonic() - began < 2
        model.close()
    assert len(server.asked) == 1


# -- heads --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "fields",
    [
        [f"X-{number}: {'v' * 100}" for number in range(1000)],
        ["X-Long: " + "v" * 100_000],
        ["X-Latin: \u00e9\u00ff", "no colon at all", "X-Empty:"],
        ["X-Folded: one\r\n two\r\n\tthree"],
        ["Keep-Alive: timeout=5", "Connection: keep-alive"],
    ],
)
def test_a_head_of_any_shape_is_read(ask: Ask, fields: list[str]) -> None:
    body = json.dumps(completion("ok")).encode()
    events = said("ok") + END + USAGE

    def speak(asked: Asked) -> None:
        stream = b'"stream":true' in asked.body
        content = events if stream else body
        kind = "text/event-stream" if stream else "application/json"
        lines = ["HTTP/1.1 200", f"content-type: {kind}", f"CONTENT-LENGTH: {len(content)}"]
        asked.send("\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + content)

    with raw_server(speak) as server:
        assert ask(model_at(server.base_url)).content == "ok"


@both
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"v" * 300_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: v\r\n" * 60_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
def test_a_head_that_is_none_is_an_error(ask: Ask, head: bytes) -> None:
    def speak(asked: Asked) -> None:
        asked.send(head)
        asked.sock.shutdown(socket.SHUT_RDWR)

    with raw_server(speak) as server, pytest.raises(ModelError):
        ask(model_at(server.base_url, max_retries=0))


# -- time of a streamed answer -------------------------------------------------------------------


def events_then(*events: bytes, then: Callable[[Asked], Any]) -> Speak:
    def speak(asked: Asked) -> None:
        asked.send(OPEN_STREAM, *events)
        then(asked)

    return speak


@pytest.mark.parametrize("heartbeat", [b"", b": alive\n\n", event({"choices": []})])
@pytest.mark.parametrize("bill", [b"", USAGE], ids=["no bill", "bill"])
def test_nothing_that_follows_the_finish_is_waited_for_long(heartbeat: bytes, bill: bytes) -> None:
    speak = events_then(said("all"), END, bill, then=lambda asked: asked.repeat(heartbeat, 0.2))
    began = time.monotonic()
    with raw_server(speak) as server:
        reply = streamed(model_at(server.base_url, timeout=60.0))
    assert time.monotonic() - began < 4
    assert reply.content == "all"
    assert reply.usage == (Usage(7, 3) if bill else Usage())


def test_a_bill_that_comes_a_little_late_is_read() -> None:
    def speak(asked: Asked) -> None:
        asked.send(OPEN_STREAM + said("all"))
        asked.send(END, every=0.5)
        asked.send(USAGE + b"data: [DONE]\n\n")

    with raw_server(speak) as server:
        assert streamed(model_at(server.base_url)).usage == Usage(7, 3)


@pytest.mark.parametrize(
    "heartbeat",
    [b": alive\n\n", event({"choices": []}), event({"choices": [{"delta": {}}]})],
)
@pytest.mark.parametrize("begun", [b"", said("Hel")], ids=["before", "within"])
def test_heartbeats_stretch_the_wait_once_and_not_for_ever(heartbeat: bytes, begun: bytes) -> None:
    """Half as long again as a silence may last is waited; three times is not."""

    def alive(asked: Asked, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked.send(heartbeat, every=0.1)
        asked.send(said("lo"), END, USAGE)
        asked.sock.shutdown(socket.SHUT_RDWR)

    with raw_server(events_then(begun, then=lambda asked: alive(asked, 0.9))) as server:
        assert streamed(model_at(server.base_url, timeout=0.6)).content.endswith("lo")
    with (
        raw_server(events_then(begun, then=lambda asked: alive(asked, 9))) as server,
        pytest.raises(ModelTimeout),
    ):
        streamed(model_at(server.base_url, timeout=0.6))


def test_the_readers_own_time_is_not_the_servers() -> None:
    speak = events_then(
        *[said(str(number)) for number in range(9)], END, USAGE,
        then=lambda asked: asked.sock.shutdown(socket.SHUT_RDWR),
    )  # fmt: skip
    with raw_server(speak) as server:
        model = model_at(server.base_url, timeout=0.3)
        items = model.stream(HELLO)
        first = next(items)
        time.sleep(1.2)
        *_, reply = [first, *items]
        assert isinstance(reply, ModelReply)
        assert reply.content == "012345678"
        model.close()


# -- size ---------------------------------------------------------------------------------------


def flood(head: bytes, piece: bytes, times: int) -> Speak:
    def speak(asked: Asked) -> None:
        asked.send(head + b"Connection: close\r\n\r\n")
        for _ in range(times):
            asked.send(piece)

    return speak


def bomb(pack: Callable[[bytes], bytes], coding: str) -> Speak:
    packed = pack(b"data: " + b"a" * 100_000_000)
    head = EVENT_STREAM + f"Content-Encoding: {coding}\r\n".encode()
    return flood(head, packed, 1)


@both
@pytest.mark.parametrize(
    "make",
    [
        lambda: flood(EVENT_STREAM, b"a" * 1_000_000, 60),
        lambda: flood(EVENT_STREAM, b"data: " + b"b" * 1_000_000, 60),
        lambda: flood(EVENT_STREAM, b": comment\n\n" * 100_000, 60),
        lambda: flood(b"HTTP/1.1 200 OK\r\n", b'{"a": "' + b"c" * 1_000_000, 60),
        lambda: flood(b"HTTP/1.1 500 Oh\r\n", b"d" * 1_000_000, 60),
        lambda: bomb(gzip.compress, "gzip"),
        lambda: bomb(zlib.compress, "deflate"),
    ],
    ids=["no line", "no event", "comments", "json", "an error", "gzip", "deflate"],
)
def test_an_answer_without_measure_is_left(ask: Ask, make: Callable[[], Speak]) -> None:
    speak = make()
    with raw_server(speak) as server:
        model = model_at(server.base_url, max_retries=0)
        tracemalloc.start()
        try:
            with pytest.raises(ModelError):
                ask(model)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 110_000_000


@both
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:])),
        ("gzip", lambda content: gzip.compress(content) + b"\0" * 20),
        ("deflate", zlib.compress),
        ("deflate", lambda content: zlib.compress(content)[2:-4]),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize("every", [1, 10_000])
def test_a_packed_answer_is_unpacked(
    ask: Ask, coding: str, pack: Callable[[bytes], bytes], every: int
) -> None:
    def speak(asked: Asked) -> None:
        events = said("packed " * 40) + END + USAGE
        whole = json.dumps(completion("packed " * 40)).encode()
        content = pack(events if b'"stream":true' in asked.body else whole)
        asked.send(EVENT_STREAM + f"Content-Encoding: {coding}\r\n".encode())
        asked.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(content), every):
            piece = content[i : i + every]
            asked.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        asked.send(b"0\r\n\r\n")

    with raw_server(speak) as server:
        assert ask(model_at(server.base_url)).content == "packed " * 40
    assert server.asked[0].head["accept-encoding"] == "gzip, deflate"


@both
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip"])
def test_what_cannot_be_unpacked_is_an_error(ask: Ask, coding: str) -> None:
    with (
        raw_server(
            lambda asked: asked.answer(b"rubbish", "200 OK", f"Content-Encoding: {coding}")
        ) as server,
        pytest.raises(ModelError),
    ):
        ask(model_at(server.base_url, max_retries=0))


def test_what_is_too_large_or_cannot_be_unpacked_is_not_asked_for_again() -> None:
    for speak in (
        flood(b"HTTP/1.1 200 OK\r\n", b"c" * 1_000_000, 60),
        lambda asked: asked.answer(b"rubbish", "200 OK", "Content-Encoding: gzip"),
    ):
        with raw_server(speak) as server, pytest.raises(ModelError, match="cannot be read"):
            whole(model_at(server.base_url, max_retries=2))
        assert len(server.asked) == 1


@pytest.mark.parametrize("end", ["silence", "white space", "closed", "half a chunk"])
def test_an_object_that_is_whole_needs_no_end(end: str) -> None:
    content = json.dumps(completion("ok")).encode()

    def speak(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        asked.send(b"%x\r\n%b\r\n" % (len(content), content))
        if end == "white space":
            asked.repeat(b"1\r\n \r\n")
        elif end == "silence":
            asked.sock.recv(1)
        elif end == "half a chunk":
            asked.send(b"5\r\n \r")
        asked.sock.shutdown(socket.SHUT_RDWR)

    with raw_server(speak) as server:
        assert whole(model_at(server.base_url, timeout=0.5, max_retries=0)).content == "ok"


@pytest.mark.parametrize(
    "coding", ["identity", "Chunked", "chunked\r\nTransfer-Encoding: chunked", "identity, chunked"]
)
def test_a_transfer_coding_is_known_in_each_way_to_say_it(coding: str) -> None:
    content = json.dumps(completion("ok")).encode()
    body = content if coding == "identity" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)

    def speak(asked: Asked) -> None:
        asked.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode(), body)
        asked.sock.shutdown(socket.SHUT_RDWR)

    with raw_server(speak) as server:
        assert whole(model_at(server.base_url, max_retries=0)).content == "ok"


def test_a_reader_that_never_has_to_wait_lets_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests = [100.0], []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=rest)
    monkeypatch.setattr("webapp.agent.http.call.time", clock)
    call = Call()
    call.begin(5)
    for _ in range(100):  # each event takes 1 ms to work off
        call.heard()
        now[0] += 0.001
    assert 10 < len(rests) < 30
    rests.clear()
    for _ in range(100):  # each event is waited for
        began = now[0]
        now[0] += 0.02
        call.came(began)
        call.heard()
        now[0] += 0.001
    assert rests == []


# -- connections --------------------------------------------------------------------------------


def burst(server: RawServer, idle: IdleConnections, number: int) -> None:
    transport = KeptAliveTransport(idle=idle)
    model = model_at(server.base_url)
    model.client = model.client.with_options(http_client=httpx2.Client(transport=transport))
    threads = [threading.Thread(target=model.complete, args=(HELLO,)) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def gathered(number: int) -> Speak:
    """Answers when so many have asked, so that each has a connection of its own."""
    barrier = threading.Barrier(number)

    def speak(asked: Asked) -> None:
        barrier.wait(10)
        asked.say("ok")

    return speak


def test_idle_connections_are_closed_though_no_call_follows() -> None:
    with raw_server(gathered(40)) as server:
        before = set(threading.enumerate())
        idle = IdleConnections(seconds=0.4)
        burst(server, idle, 40)
        assert server.open == 40
        until(lambda: server.open == 0)
        assert len(idle) == 0
        until(
            lambda: not {t for t in threading.enumerate() if t.name == "idle connections"} - before
        )


def test_no_more_idle_connections_are_kept_than_so_many() -> None:
    with raw_server(gathered(20)) as server:
        idle = IdleConnections(most=5)
        burst(server, idle, 20)
        assert len(idle) == 5
        until(lambda: server.open == 5)
        idle.close()
        until(lambda: server.open == 0)


# -- names --------------------------------------------------------------------------------------


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Stands for the system's resolver: `answers` by name; the others never get any."""
    state: dict[str, Any] = {"answers": {}, "asked": [], "end": threading.Event()}

    def getaddrinfo(host: str, port: int, **_: object) -> object:
        state["asked"].append(host)
        if host not in state["answers"]:
            state["end"].wait(20)
            raise socket.gaierror("no answer")
        address = state["answers"][host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield state
    state["end"].set()


def test_a_silent_name_server_costs_one_thread_and_only_those_who_ask(
    name_server: dict[str, Any],
) -> None:
    names, call = Names(), Call()
    name_server["answers"]["good"] = "127.0.0.1"

    def ask() -> None:
        with pytest.raises(TimeoutError):
            names.find("silent", 1, call, 0.6)

    threads = [threading.Thread(target=ask) for _ in range(30)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    assert names.find("good", 1, call, 5)[0][1] == ("127.0.0.1", 1)
    assert names.find("10.1.2.3", 1, call, 5)[0][1] == ("10.1.2.3", 1)
    assert time.monotonic() - began < 0.5
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 3
    assert name_server["asked"].count("silent") == 1


def test_an_old_answer_is_used_when_there_is_no_new_one(
    name_server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names()
    name_server["answers"]["host"] = "127.0.0.1"
    assert names.find("host", 1, Call(), 5) == names.find("host", 1, Call(), 5)
    assert name_server["asked"] == ["host"]
    del name_server["answers"]["host"]
    monkeypatch.setattr("webapp.agent.http.names.FRESH_SECONDS", 0.0)
    assert names.find("host", 1, Call(), 5)[0][1] == ("127.0.0.1", 1)
    assert name_server["asked"] == ["host"] * 2


def test_a_name_that_is_not_found_is_an_error_at_once(name_server: dict[str, Any]) -> None:
    name_server["end"].set()
    began = time.monotonic()
    with pytest.raises(ModelError):
        whole(model_at("http://nowhere.invalid/v1", max_retries=0))
    assert time.monotonic() - began < 2
