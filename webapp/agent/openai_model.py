"""A model behind any OpenAI-compatible server, through the `openai` package; no agent's logic.

The client's typed `chat.completions.create` walks every message through its parameter types,
which with a hundred messages costs twenty times what the call costs. Its documented low-level
`post` keeps its retries, time-outs and errors and leaves the body to us.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import openai

from webapp.agent.http_transport import KeptAliveTransport
from webapp.agent.lookout import Lookout
from webapp.agent.model import ModelReply, ModelRequest, TextDelta, ToolSpec
from webapp.errors import ConfigurationError, ContextOverflow, ModelError, ModelTimeout
from webapp.messages import Message, ToolCall, Usage

OVERFLOW_MARKS = ("context_length_exceeded", "exceed_context_size_error")
CONNECT_SECONDS = 10.0
OPENAI_HOST = "api.openai.com"
# What reading a JSON of an unexpected shape, or of absurd depth, raises.
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
JSON_HEADERS: Any = {"headers": {"Content-Type": "application/json"}}


class OpenAIModel:
    """Sends chat completions to an OpenAI-compatible server.

    One instance serves all threads. `api_key` and `base_url` default to what the `openai` package
    reads from OPENAI_API_KEY and OPENAI_BASE_URL; a server other than OpenAI's needs no key, and
    without one for OpenAI's `ConfigurationError` is raised. `timeout` is in seconds: for a whole
    answer, or for the gap between two pieces of a streamed one. `options` are further fields of
    the request body, such as `temperature`.
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
        client: openai.OpenAI | None = None,
    ) -> None:
        self._name = name
        self._options = dict(options or {})
        self._lookout = Lookout()
        self.client = client or _client(
            api_key=api_key,
            base_url=base_url,
            max_retries=max_retries,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            http_client=_http_client(timeout, self._lookout),
        )
        # Whole, because the client parses a relative one three times for each request.
        self._url = f"{str(self.client.base_url).rstrip('/')}/chat/completions"
        self._head = _json({"model": name, **self._options})[1:-1]
        self._tools_text: tuple[Sequence[ToolSpec], str] = ((), "")

    @property
    def name(self) -> str:
        return self._name

    def named(self, name: str) -> OpenAIModel:
        """The same server and connections, another model of it."""
        other = OpenAIModel(name, options=self._options, client=self.client)
        other._lookout = self._lookout
        return other

    def complete(self, request: ModelRequest) -> ModelReply:
        response = self._post(request, stream=False)
        try:
            return _read_reply(json.loads(response.content))
        except UNREADABLE as error:
            raise ModelError("The model gave an answer that cannot be read.") from error

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        response = self._post(request, stream=True)
        assembly = _Assembly()
        try:
            for data in _events(response):
                text = assembly.take(data)
                if text:
                    yield TextDelta(text)
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise _transport_failure(error) from error
        except UNREADABLE as error:
            raise ModelError("The model gave an answer that cannot be read.") from error
        finally:
            response.close()
        if not assembly.complete:
            raise ModelError("The model's answer broke off.")
        yield assembly.reply()

    def close(self) -> None:
        """Closes the kept connections, those of `named` models included."""
        self.client.close()

    def check(self) -> None:
        """Asks the server for its models; raises `ModelError` when it does not answer."""
        try:
            self.client.get("/models", cast_to=httpx2.Response, options={"max_retries": 0})
        except openai.NotFoundError:
            return  # an answer all the same; some servers have no list
        except openai.OpenAIError as error:
            raise _failure(error) from error

    def _post(self, request: ModelRequest, *, stream: bool) -> httpx2.Response:
        try:
            with self._lookout.calling(request.cancel):
                response = self.client.post(
                    self._url,
                    content=self._body(request, stream=stream).encode("utf-8"),
                    options=JSON_HEADERS,
                    cast_to=httpx2.Response,
                    stream=stream,
                )
        except openai.OpenAIError as error:
            raise _failure(error) from error
        except (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError) as error:
            raise _transport_failure(error) from error
        return response

    def _body(self, request: ModelRequest, *, stream: bool) -> str:
        """The request's JSON. An agent's tools are the same at each call: their text is kept."""
        messages = _json([_wire(message) for message in request.messages])
        parts = [self._head, f'"messages":{messages}']
        if request.tools:
            tools, text = self._tools_text
            if tools is not request.tools:
                text = _json([_wire_tool(tool) for tool in request.tools])
                self._tools_text = (request.tools, text)
            parts.append(f'"tools":{text}')
        if stream:
            parts.append('"stream":true,"stream_options":{"include_usage":true}')
        return f"{{{','.join(parts)}}}"


def _client(**given: Any) -> openai.OpenAI:
    try:
        return openai.OpenAI(**given)
    except openai.OpenAIError as error:
        # A server of one's own often wants no key, but the client insists on some text.
        client = openai.OpenAI(**{**given, "api_key": "none"})
        if client.base_url.host == OPENAI_HOST:
            raise ConfigurationError(
                "There is no key for the model: set OPENAI_API_KEY or pass api_key=…;"
                " for a server of your own set OPENAI_BASE_URL or pass base_url=…."
            ) from error
        return client


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
        )
    return httpx2.Client(transport=KeptAliveTransport(lookout), timeout=timeout, cookies=cookies)


def _wire(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {
            "role": "tool",
            "content": message.content,
            "tool_call_id": message.tool_call_id or "",
        }
    if message.tool_calls:
        return {
            "role": message.role,
            "content": message.content or None,
            "tool_calls": [call.as_dict() for call in message.tool_calls],
        }
    return {"role": message.role, "content": message.content}


def _wire_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        },
    }


def _read_reply(data: dict[str, Any]) -> ModelReply:
    message = data["choices"][0]["message"]
    calls = tuple(
        ToolCall(
            _text(call.get("id")),
            _text(call["function"]["name"]),
            _text(call["function"].get("arguments")),
        )
        for call in message.get("tool_calls") or ()
    )
    return ModelReply(_text(message.get("content")), calls, _read_usage(data.get("usage")))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("expected text")
    # A half of a surrogate pair can be written in JSON, but not be stored or sent on.
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _read_usage(usage: object) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**40 else 0


class _Assembly:
    """Puts a streamed answer together."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._usage = Usage()
        self.complete = False

    def take(self, data: dict[str, Any]) -> str:
        """One event; gives the text in it."""
        if "error" in data:
            raise ModelError("The model failed in the middle of its answer.")
        if data.get("usage"):
            self._usage = _read_usage(data["usage"])
        text = ""
        for choice in data.get("choices") or ():
            delta = choice.get("delta") or {}
            text += _text(delta.get("content"))
            for call in delta.get("tool_calls") or ():
                self._take_call(call)
            if choice.get("finish_reason"):
                self.complete = True
        if text:
            self._texts.append(text)
        return text

    def _take_call(self, call: dict[str, Any]) -> None:
        parts = self._calls.setdefault(int(call.get("index") or 0), ["", "", ""])
        function = call.get("function") or {}
        parts[0] = parts[0] or _text(call.get("id"))
        parts[1] += _text(function.get("name"))
        parts[2] += _text(function.get("arguments"))

    def reply(self) -> ModelReply:
        calls = tuple(ToolCall(*self._calls[index]) for index in sorted(self._calls))
        return ModelReply("".join(self._texts), calls, self._usage)


def _events(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream, until `[DONE]`.

    Source: the event stream format of the HTML standard, of which only `data` matters here.
    """
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        response.read()
        raise ValueError("not an event stream")
    for line in response.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if not isinstance(event, dict):
            raise TypeError("expected an object")
        yield event


def _failure(error: openai.OpenAIError) -> ModelError:
    """Our error for the client's; the provider's words stay in the cause."""
    if isinstance(error, openai.APITimeoutError):
        return ModelTimeout("The model did not answer in time.")
    if isinstance(error, openai.APIConnectionError):
        return ModelError("The model's server cannot be reached.")
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 400 and any(mark in error.response.text for mark in OVERFLOW_MARKS):
            return ContextOverflow("The conversation is too long for the model.")
        if error.status_code == 408:
            return ModelTimeout("The model did not answer in time.")
        if error.status_code in (401, 403):
            return ModelError("The model's server refused our credentials.")
        if error.status_code == 404:
            return ModelError("The model's server does not have this model.")
        if error.status_code == 429:
            return ModelError("The model's server is refusing requests for now.")
        return ModelError("The model's server failed.")
    return ModelError("The model failed.")


def _transport_failure(error: Exception) -> ModelError:
    if isinstance(error, httpx2.TimeoutException):
        return ModelTimeout("The model did not answer in time.")
    return ModelError("The model's answer broke off.")
