"""A model behind any OpenAI-compatible server, through the `openai` package; no agent's logic.

The client's typed `chat.completions.create` walks every message through its parameter types,
which with a hundred messages costs twenty times what the call costs. Its documented low-level
`post` keeps its errors and leaves the body to us. What servers make of the dialect is read and
written in `completions`; connections, time and retries are in `http`.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import openai

from webapp.agent.completions.attempt import Attempt
from webapp.agent.completions.failures import Refused, refusal
from webapp.agent.completions.reading import BROKE_OFF, UNREADABLE, Stream, read_whole, whole_of
from webapp.agent.completions.refusals import Part, Refusals, told
from webapp.agent.completions.request import RequestBody
from webapp.agent.http.address import read_timeout, whole_address
from webapp.agent.http.body import Unusable
from webapp.agent.http.call import Call
from webapp.agent.http.client import DirectClient
from webapp.agent.http.lookout import Lookout
from webapp.agent.http.transport import KeptAliveTransport
from webapp.agent.http.tries import Refusal, Tries
from webapp.agent.model import ModelReply, ModelRequest, TextDelta, ToolSpec
from webapp.agent.server_address import require_sendable
from webapp.errors import ConfigurationError, ModelError, ModelTimeout
from webapp.messages import Message

CONNECT_SECONDS = 10.0
OPENAI_HOST = "api.openai.com"
TOO_LATE = "The model did not answer in time."
# What may go to another origin than the one that was set: none of it says who we are.
HARMLESS_HEADERS = frozenset({"accept", "content-type", "user-agent"})
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
    tools.
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
        client: openai.OpenAI | None = None,
    ) -> None:
        self._name = name
        self._options = dict(options or {})
        self._tools_required = tools_required
        self._lookout = Lookout()
        self._refusals = Refusals(time.monotonic)
        self.client = client or _client(
            api_key=api_key,
            base_url=base_url,
            max_retries=max_retries,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            http_client=_http_client(timeout, self._lookout),
        )
        self._url = whole_address(self.client.base_url, "chat/completions")
        self._body = RequestBody(name, self._options)

    @property
    def name(self) -> str:
        return self._name

    @property
    def left_out(self) -> frozenset[Part]:
        """The parts of a request that this model was found to refuse."""
        return self._refusals.of(self._name)

    def named(self, name: str) -> OpenAIModel:
        """The same server and connections, another model of it."""
        other = OpenAIModel(
            name, options=self._options, tools_required=self._tools_required, client=self.client
        )
        other._lookout, other._refusals = self._lookout, self._refusals
        return other

    def complete(self, request: ModelRequest) -> ModelReply:
        return whole_of(self._attempts(request, wants_pieces=False))

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        return self._attempts(request, wants_pieces=True)

    def close(self) -> None:
        """Closes the kept connections, those of `named` models included."""
        self.client.close()

    def check(self) -> None:
        """Asks the server for its models; raises `ModelError` when it does not answer."""
        url = whole_address(self.client.base_url, "models")
        tries = Tries(url, retries=0, patience=0.0, reads=True)
        while True:
            try:
                self.client.get(tries.url, cast_to=httpx2.Response, options=self._sending(tries))
            except openai.NotFoundError:
                return  # an answer all the same; some servers have no list
            except openai.OpenAIError as error:
                if not tries.again(_refusal(error)):
                    raise _refused(error).error from error
            else:
                return

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
                        elif attempt.left_out:
                            self._refusals.learn(self._name, attempt.left_out, say=say)
                        yield item
            except Refused as refused:
                if shown:
                    raise refused.error from refused
                attempt = attempt.without(refused)
            else:
                return

    def _whole(self, attempt: Attempt) -> Generator[TextDelta | ModelReply, None, None]:
        response, _ = self._post(attempt)
        reply = read_whole(response.content, response.charset_encoding, _names(attempt.request))
        if attempt.wants_pieces and reply.content:
            yield TextDelta(reply.content)
        yield reply

    def _streamed(self, attempt: Attempt) -> Generator[TextDelta | ModelReply, None, None]:
        response, call = self._post(attempt)
        stream = Stream(
            response.charset_encoding, _names(attempt.request), call, attempt.request.meter
        )
        try:
            yield from stream.pieces(response.iter_bytes())
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            if call.was_left or isinstance(error, httpx2.TimeoutException):
                attempt.request.meter.at_work()
            if call.called_off or not stream.is_finished:
                raise _transport_failure(error) from error
        finally:
            response.close()
        yield from stream.end()

    def _post(self, attempt: Attempt) -> tuple[httpx2.Response, Call]:
        """The answer's head and the clock of the rest, after as many tries as it takes."""
        content, request = attempt.content(), attempt.request
        tries = Tries(
            self._url,
            retries=self.client.max_retries,
            patience=read_timeout(self.client.timeout),
            cancel=request.cancel,
            deadline=request.deadline,
        )
        while True:
            call = Call(request.cancel, request.deadline, streaming=attempt.streamed)
            try:
                with self._lookout.calling(call):
                    return self.client.post(
                        tries.url,
                        content=content,
                        options=self._sending(tries),
                        cast_to=httpx2.Response,
                        stream=attempt.streamed,
                    ), call
            except openai.OpenAIError as error:
                refused = _refused(error)
                left = call.was_left or isinstance(error, openai.APITimeoutError)
                if call.taken or (call.sent and left):
                    request.meter.at_work()
                if not attempt.is_final(refused) and tries.again(_refusal(error)):
                    continue
                if request.deadline is not None and request.deadline.passed:
                    raise ModelTimeout(TOO_LATE) from error
                if refused.status is None:
                    raise refused.error from error
                raise refused from error
            except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
                raise _transport_failure(error) from error

    def _sending(self, tries: Tries) -> Any:
        """The client's options for one try; its own retries would sleep past every deadline."""
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        params: dict[str, Any] = {}
        if tries.elsewhere:
            ours = (*self.client.default_headers, *self.client.auth_headers)
            headers |= {
                name: openai.Omit() for name in ours if name.lower() not in HARMLESS_HEADERS
            }
            params = dict.fromkeys(self.client.default_query, openai.Omit())
        return {"headers": headers, "params": params, "max_retries": 0}


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


def _http_client(timeout: float, lookout: Lookout) -> httpx2.Client:
    """Our transport, unless the environment asks for a proxy: then httpx2's own, which has them.

    No cookie is kept: what the server sets for one user's call would go out with everybody's, and
    the cookie of a load balancer would send them all to one of its machines.
    """
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return openai.DefaultHttpxClient(
            timeout=timeout,
            cookies=cookies,
            limits=httpx2.Limits(max_connections=2000, max_keepalive_connections=1000),
            follow_redirects=False,
        )
    return DirectClient(KeptAliveTransport(lookout), timeout=timeout)


def _refusal(error: openai.OpenAIError) -> Refusal:
    """What of a failed try says whether to try again."""
    if isinstance(error, openai.APIStatusError):
        return Refusal(error.status_code, error.response.headers)
    late = isinstance(error, openai.APITimeoutError)
    connecting = isinstance(error.__cause__, httpx2.ConnectTimeout)
    return Refusal(
        late=not isinstance(error, openai.APIConnectionError)
        or (late and not connecting)
        or isinstance(error.__cause__, Unusable)
    )


def _refused(error: openai.OpenAIError) -> Refused:
    """What the client's error says, with our own for it; the provider's words stay in the cause."""
    if isinstance(error, openai.APITimeoutError):
        return Refused(None, "", ModelTimeout(TOO_LATE))
    if isinstance(error.__cause__, Unusable):
        return Refused(None, "", ModelError(UNREADABLE))
    if isinstance(error, openai.APIConnectionError):
        return Refused(None, "", ModelError("The model's server cannot be reached."))
    if isinstance(error, openai.APIStatusError):
        return refusal(error.status_code, error.response.content)
    return Refused(None, "", ModelError("The model failed."))


def _transport_failure(error: Exception) -> ModelError:
    if isinstance(error, httpx2.TimeoutException):
        return ModelTimeout(TOO_LATE)
    return ModelError(BROKE_OFF)
