"""A model behind any OpenAI-compatible server, through the `openai` package; no agent's logic.

The package's client knows the server: its address, credential, fields and limits of time. Only
the body differs from call to call, so the head that the client describes is written once and our
transport sends it: the client's own `post` costs four times as much. A client that was handed in
may do as it likes with each request, and so is asked by `post` for every call. What servers make
of the dialect is read and written in `completions`; connections, time and retries are in `http`.
"""

from __future__ import annotations

import math
import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self

import httpx2
import openai

from webapp.agent.completions.attempt import Attempt
from webapp.agent.completions.failures import Refused, refusal
from webapp.agent.completions.reading import BROKE_OFF, UNREADABLE, Stream, read_whole, whole_of
from webapp.agent.completions.refusals import UNTOLD_FORMAT, Part, Refusals, told
from webapp.agent.completions.request import RequestBody
from webapp.agent.http.address import whole_address
from webapp.agent.http.body import Unusable, in_time
from webapp.agent.http.call import Call
from webapp.agent.http.head import Head
from webapp.agent.http.response import Response
from webapp.agent.http.transport import KeptAliveTransport
from webapp.agent.http.tries import Refusal, Tries, wanted_pause
from webapp.agent.model import ModelReply, ModelRequest, TextDelta, ToolSpec
from webapp.agent.server_address import require_sendable
from webapp.errors import ConfigurationError, ModelError, ModelTimeout
from webapp.messages import Message

CONNECT_SECONDS = 10.0
OPENAI_HOST = "api.openai.com"
TOO_LATE = "The model did not answer in time."
# What may go to another origin than the one that was set: none of it says who we are.
HARMLESS_HEADERS = frozenset({"accept", "content-type", "user-agent"})
KNOWN_HEADS = 64
PROBE = (Message.system("Answer in one word."), Message.user("Say: ready"))
PROBE_TOOL = ToolSpec("status", "Not needed here.", {"type": "object", "properties": {}})


class OpenAIModel:
    """Sends chat completions to an OpenAI-compatible server.

    One instance serves all threads. `api_key` and `base_url` default to what the `openai` package
    reads from OPENAI_API_KEY and OPENAI_BASE_URL; a server other than OpenAI's needs no key, and
    without one for OpenAI's `ConfigurationError` is raised. A query of the base URL goes with every
    call. `timeout` is in seconds: for a whole answer, or for a silence in a streamed one, which may
    take twice that to its next word while comments or empty events show that the server is alive.
    `options` are further fields of the request body, such as `temperature`. A part of the request
    that the server refuses is left out from then on, for an hour; with `tools_required` never the
    tools. With `llama_cpp` the form of an answer is asked for by that server's own `json_schema`.
    """

    def __init__(
        self,
        name: str = "gpt-4o-mini",
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
        options: Mapping[str, Any] | None = None,
        tools_required: bool = False,
        llama_cpp: bool = False,
        client: openai.OpenAI | None = None,
    ) -> None:
        self._name = name
        self._options = dict(options or {})
        self._tools_required = tools_required
        self._llama_cpp = llama_cpp
        self._refusals = Refusals(time.monotonic)
        self._transport = KeptAliveTransport() if client is None and not _has_proxies() else None
        self._heads: dict[tuple[str, str, str, bool], Head] = {}
        self._client = client or _client(
            api_key=api_key,
            base_url=base_url,
            max_retries=max_retries,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            http_client=_http_client(timeout, self._transport),
        )
        self._url = whole_address(self._client.base_url, "chat/completions")
        self._body = RequestBody(name, self._options, llama_cpp=llama_cpp)

    @property
    def client(self) -> openai.OpenAI:
        """The `openai` client; another one that is put here sends every request itself."""
        return self._client

    @client.setter
    def client(self, client: openai.OpenAI) -> None:
        self._client, self._transport = client, None

    @property
    def name(self) -> str:
        return self._name

    @property
    def takes_response_format(self) -> bool:
        """The form of an answer goes into the request's own field where the server has it."""
        return True

    @property
    def left_out(self) -> frozenset[Part]:
        """The parts of a request that this model was found to refuse."""
        return self._refusals.of(self._name) - {UNTOLD_FORMAT}

    def named(self, name: str) -> OpenAIModel:
        """The same server and connections, another model of it."""
        other = OpenAIModel(
            name,
            options=self._options,
            tools_required=self._tools_required,
            llama_cpp=self._llama_cpp,
            client=self._client,
        )
        other._transport, other._refusals = self._transport, self._refusals
        return other

    def complete(self, request: ModelRequest) -> ModelReply:
        return whole_of(self._attempts(request, wants_pieces=False))

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        return self._attempts(request, wants_pieces=True)

    def close(self) -> None:
        """Closes the kept connections, those of `named` models included; it may be called again."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def check(self) -> None:
        """Asks the server for its models; raises `ModelError` when it does not answer."""
        url = whole_address(self._client.base_url, "models")
        tries = Tries(url, retries=0, patience=0.0, reads=True)
        while True:
            try:
                response = self._send("GET", tries, b"", Call())
            except httpx2.TransportError as error:
                raise _unanswered(error) from error
            # 404 is an answer all the same; some servers have no list.
            if response.status < 300 or response.status == 404:
                return
            if not tries.again(Refusal(response.status, response.fields)):
                raise refusal(response.status, response.content).error

    def probe(self, *, tools: bool = True) -> list[str]:
        """Asks a short question as turns do; gives the parts of it that the model refuses.

        Raises the `ModelError` that a turn would end with. It costs some tokens.
        """
        specs = (PROBE_TOOL,) if tools else ()
        whole_of(self._attempts(ModelRequest(PROBE, specs), wants_pieces=True, say=False))
        return told(self.left_out, self._options)

    def _attempts(
        self, request: ModelRequest, *, wants_pieces: bool, say: bool = True
    ) -> Iterator[TextDelta | ModelReply]:
        """The answer, after as many requests as there are parts that the server refuses."""
        if request.response_format is not None and request.response_format.ignored:
            self._refusals.learn(self._name, frozenset({UNTOLD_FORMAT}), say=False)
        attempt = Attempt(
            self._body,
            request,
            self._refusals.of(self._name),
            wants_pieces=wants_pieces,
            tools_required=self._tools_required,
        )
        shown = False
        while True:
            try:
                answer = self._streamed(attempt) if attempt.streamed else self._whole(attempt)
                with closing(answer):
                    for item in answer:
                        if isinstance(item, TextDelta):
                            shown = True
                        elif attempt.learned:
                            self._refusals.learn(self._name, attempt.learned, say=say)
                        yield item
            except Refused as refused:
                if shown:
                    raise refused.error from refused
                attempt = attempt.without(refused)
            else:
                return

    def _whole(self, attempt: Attempt) -> Generator[TextDelta | ModelReply, None, None]:
        response, _ = self._post(attempt)
        reply = read_whole(response.content, response.charset, _names(attempt.request))
        if attempt.wants_pieces and reply.content:
            yield TextDelta(reply.content)
        yield reply

    def _streamed(self, attempt: Attempt) -> Generator[TextDelta | ModelReply, None, None]:
        response, call = self._post(attempt)
        stream = Stream(response.charset, _names(attempt.request), call, attempt.request.meter)
        try:
            yield from stream.pieces(response.pieces)
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            if call.was_left or isinstance(error, httpx2.TimeoutException):
                attempt.request.meter.at_work()
            if call.called_off or not stream.is_finished:
                raise _broken_off(error) from error
        finally:
            response.close()
        yield from stream.end()

    def _post(self, attempt: Attempt) -> tuple[Response, Call]:
        """The answer's head and the clock of the rest, after as many tries as it takes."""
        content, request = attempt.content(), attempt.request
        tries = Tries(
            self._url,
            retries=self._client.max_retries,
            patience=_timeout(self._client).read or math.inf,
            cancel=request.cancel,
            deadline=request.deadline,
        )
        while True:
            call = Call(request.cancel, request.deadline, streaming=attempt.streamed)
            cause: Exception | None = None
            try:
                response = self._send("POST", tries, content, call)
            except httpx2.TransportError as error:
                cause, refused = error, Refused(None, "", _unanswered(error))
                again = Refusal(late=_is_late(error))
            else:
                if response.status < 300:
                    return response, call
                refused = refusal(response.status, response.content)
                refused.error.retry_after = wanted_pause(response.fields)
                again = Refusal(response.status, response.fields)
            left = call.was_left or isinstance(cause, httpx2.TimeoutException)
            if call.taken or (call.sent and left):
                request.meter.at_work()
            if not attempt.is_final(refused) and tries.again(again):
                continue
            if request.deadline is not None and request.deadline.passed:
                raise ModelTimeout(TOO_LATE) from cause
            if refused.status is None:
                raise refused.error from cause
            raise refused

    def _send(self, method: str, tries: Tries, content: bytes, call: Call) -> Response:
        """One try. Raises the kinds of `httpx2.TransportError`."""
        if self._transport is None:
            return self._send_by_client(method, tries, content, call)
        key = (method, tries.url, self._client.api_key, tries.elsewhere)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= KNOWN_HEADS:
                self._heads.clear()  # redirects may lead to any number of addresses
            head = self._heads[key] = self._head(method, tries)
        return self._transport.send(head, content, call, _timeout(self._client))

    def _head(self, method: str, tries: Tries) -> Head:
        known = {**self._client.default_headers, **self._client.auth_headers}
        return Head.of(
            method,
            tries.url,
            {
                name: value
                for name, value in known.items()
                if isinstance(value, str)  # the client marks a field that is left out
                and not (tries.elsewhere and name.lower() not in HARMLESS_HEADERS)
                and not (method == "GET" and name.lower() == "content-type")
            },
        )

    def _send_by_client(self, method: str, tries: Tries, content: bytes, call: Call) -> Response:
        # The client's own retries would sleep past every deadline, and its time-outs bound each
        # wait alone: a body comes in pieces, so that the call can end between two of them.
        timeout = _timeout(self._client)
        call.begin(timeout.read)
        options: Any = {
            "max_retries": 0,
            "headers": {"Content-Type": "application/json"},
            "timeout": _within(timeout, call.left),
        }
        if tries.elsewhere:
            ours = (*self._client.default_headers, *self._client.auth_headers)
            options["headers"] |= {
                name: openai.Omit() for name in ours if name.lower() not in HARMLESS_HEADERS
            }
            options["params"] = dict.fromkeys(self._client.default_query, openai.Omit())
        kind = httpx2.Response
        try:
            if method == "GET":
                found = self._client.get(tries.url, cast_to=kind, options=options)
            else:
                found = self._client.post(
                    tries.url, content=content, cast_to=kind, options=options, stream=True
                )
        except openai.APIStatusError as error:
            found = error.response
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.TransportError):
                raise error.__cause__ from error
            late = isinstance(error, openai.APITimeoutError)
            raise (httpx2.ReadTimeout if late else httpx2.ReadError)("no answer") from error
        except (openai.OpenAIError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise ModelError("The model failed.") from error
        if method == "GET" or not found.is_success:
            return Response(found.status_code, found.headers, found.content)
        call.sent = call.taken = True
        pieces = in_time(found.iter_bytes(), call)
        if call.streaming:
            call.heard()
            return Response(found.status_code, found.headers, pieces=pieces, close=found.close)
        try:
            return Response(found.status_code, found.headers, b"".join(pieces))
        except (httpx2.StreamError, httpx2.DecodingError) as error:
            raise ModelError("The model failed.") from error
        finally:
            found.close()


def _client(**given: Any) -> openai.OpenAI:
    try:
        client = openai.OpenAI(**given)
    except openai.OpenAIError as error:
        # A server of one's own often wants no key, but the client insists on some text.
        client = openai.OpenAI(**{**given, "api_key": "none"})
        if client.base_url.host == OPENAI_HOST:
            raise ConfigurationError(
                "There is no key for the model: set OPENAI_API_KEY or pass api_key=…;"
                " for a server of your own set OPENAI_BASE_URL or pass base_url=…."
            ) from error
    require_sendable(client.api_key, str(client.base_url))
    return client


def _names(request: ModelRequest) -> frozenset[str]:
    """The tools that the model was told of."""
    return frozenset([tool.name for tool in request.tools])


def _has_proxies() -> bool:
    return bool(urllib.request.getproxies().keys() & {"http", "https", "all"})


def _http_client(timeout: float, transport: KeptAliveTransport | None) -> httpx2.Client:
    """For what the package's client sends itself: over our transport, or else, when the
    environment asks for a proxy, over httpx2's, which knows them.

    No cookie is kept: what the server sets for one user's call would go out with everybody's, and
    the cookie of a load balancer would send them all to one of its machines.
    """
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    if transport is not None:
        return httpx2.Client(transport=transport, timeout=timeout, cookies=cookies)
    return openai.DefaultHttpxClient(
        timeout=timeout,
        cookies=cookies,
        limits=httpx2.Limits(max_connections=2000, max_keepalive_connections=1000),
        follow_redirects=False,
    )


def _timeout(client: openai.OpenAI) -> httpx2.Timeout:
    timeout: Any = client.timeout
    return timeout if isinstance(timeout, httpx2.Timeout) else httpx2.Timeout(timeout)


def _within(timeout: httpx2.Timeout, left: float | None) -> httpx2.Timeout:
    """No wait longer than the call has time left."""
    if left is None:
        return timeout
    names = ("connect", "read", "write", "pool")
    given = {name: getattr(timeout, name) for name in names}
    return httpx2.Timeout(
        **{name: left if each is None else min(each, left) for name, each in given.items()}
    )


def _is_late(error: httpx2.TransportError) -> bool:
    """Whether another try would end the same way: no answer in time, or one of no use."""
    late = isinstance(error, httpx2.TimeoutException)
    return isinstance(error, Unusable) or (late and not isinstance(error, httpx2.ConnectTimeout))


def _unanswered(error: httpx2.TransportError) -> ModelError:
    """The error of a call without an answer."""
    if isinstance(error, httpx2.TimeoutException):
        return ModelTimeout(TOO_LATE)
    if isinstance(error, Unusable):
        return ModelError(UNREADABLE)
    return ModelError("The model's server cannot be reached.", server_failed=True)


def _broken_off(error: Exception) -> ModelError:
    if isinstance(error, httpx2.TimeoutException):
        return ModelTimeout(TOO_LATE)
    return ModelError(BROKE_OFF, server_failed=True)
