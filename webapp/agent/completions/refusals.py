"""Finds which part of a request a server refuses, by its error, and remembers it for each model."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from webapp.agent.completions.overflow import is_overflow

logger = logging.getLogger("switchboard.model")

Part = str
TOOLS = "tools"
STREAM = "stream"
STREAM_OPTIONS = "stream_options"
WHOLE = "whole answers"
SYSTEM = "system role"
ROLE_ORDER = "roles that do not alternate"
CALL_IDS = "ids of tool calls"
EARLIER_CALLS = "tool calls of earlier turns"
EMPTY_CONTENT = "messages without content"
REASONING = "reasoning sent back"
# Forms of an answer; without them the form is told in words. The last is not refused but ignored.
JSON_SCHEMA = "answers by a JSON schema"
JSON_OBJECT = "answers as JSON objects"
UNTOLD_FORMAT = "a form of the answer that is not told in words"
FORMATS = frozenset({JSON_SCHEMA, JSON_OBJECT, UNTOLD_FORMAT})
# What a caller asked for so that it holds; to leave it out would break a promise.
NEVER_LEFT_OUT = frozenset({"response_format", "max_tokens", "max_completion_tokens"})
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

KEPT_SECONDS = 3600.0
MOST_MODELS = 64

# 404, 405 and 403 are how gateways say that nobody behind them takes a part.
STATUSES = frozenset({400, 403, 404, 405, 406, 409, 415, 422, 500, 501, 502})

NO = re.compile(
    r"\b(?:not|cannot|never|no longer|isn't|aren't|doesn't|don't|can't|won't)\b(?:\W+\w+){0,4}?"
    r"\W+(?:support|allow|permit|enabl|implement|avail|accept|recogni|valid|defin|expect|known|use"
    r"|handle|process|both|specif|capable|a valid|possible|offer|provid)"
    r"|\bunavailable\b|\bincapable\b|\black(?:s|ing)?\b|only available"
    r"|(?:is|are) (?:invalid|illegal)"
    r"|unsupported|not_supported|unrecogni[sz]ed|unknown|unexpected|extra[_ ](?:input|field|forb)"
    r"|additional propert|no endpoints found|no (?:connected )?provider|requires\b|disabled"
    r"|\bno (?:tool|function|such)|disallow|only false"
    r"|invalid (?:parameter|argument|field|property)s?\W{1,3}(?:tools?|tool_choice|stream)\b(?!\[)"
    r"|forbidden|only (?:the )?(?:default|user(?: and |\W{1,3})assistant|non-?stream)"
    r"|must be verified"
    r"|invalid (?:\w+ )?role|literal_error|input should be"
    r"|nicht unterstützt|unterstützt (?:\w+ ){0,2}?(?:keine?n?|nicht)\b"
    r"|(?:n'est|ne sont|ne) (?:pas )?(?:pris|prend|prise|support|accept)"
    r"|no (?:se )?(?:admite|es compatible|soporta|permite)|não (?:é |são )?(?:suporta|permit|aceit)"
    r"|non (?:è |sono )?support|не (?:поддерж|доступ|разреш)"
    r"|不支持|不允许|不可用|未启用|未开通|无效|非法|不支援"
    r"|サポート(?:されて?い?ま?せ|していま|されな)|対応していま|利用できま"
    r"|지원(?:하지|되지|안)|사용할 수 없"
)
_TOOLS = re.compile(
    r"\btools?\b|\btool[_ -]?(?:choice|use|call|pars)|\bfunctions?\b|\bfunction[_ -]?call"
    r"|工具|函数|ツール|関数|도구|함수|werkzeug|outils?\b|herramientas?|ferramentas?|инструмент|функци"
)
_STREAM = re.compile(r"\bstream(?:ing|ed|s)?\b|\bsse\b|server-sent|流式|ストリーミング|스트리밍")
_ONLY_STREAM = re.compile(
    r"only supports? (?:the )?stream|non-?stream(?:ing)?\b|without stream|not stream"
    r"|(?:enable|require|set|use)\w*\W+(?:\w+\W+){0,3}?stream|stream\w*\W+(?:\w+\W+){0,4}?"
    r"(?:required|must be (?:true|enabled|set))|(?:仅|只)支持流式|非流式"
)
_SYSTEM = re.compile(
    r"\bsystem\b.{0,40}\b(?:r[oô]le|prompt|message|instruction)|\b(?:r[oô]le|prompt|message"
    r"|instruction)s?\b.{0,60}\bsystem\b|variant\W+system\b|developer instruction"
    r"|messages(?:\[0\]|\.0|\W+0)\W+(?:\w+ )?role"
    r"|only user(?: and |\W{1,3})assistant|input should be 'user'|system.{0,10}(?:角色|消息|提示)"
    r"|角色.{0,10}system|系统(?:角色|消息|提示)|システム(?:ロール|メッセージ|プロンプト)"
    r"|시스템 (?:역할|메시지|프롬프트)"
)
_ROLES = re.compile(
    r"\balternat|roles? must|must (?:start|begin) with|consecutive|same role|first message"
    r"|role of message|valid role\W+user"
    r"|last message must|after the (?:\(?optional\)? )?system|交替"
)
_IDS = re.compile(
    r"tool[_ ]?call[_ ]?ids?\b.{0,80}(?:must|length|invalid|pattern|too long|format|a-z)"
    r"|tool_(?:calls|use)\W*\d*\W*\.?\bid\b.{0,200}(?:must|too long|pattern|invalid|match|length)"
    r"|tool_call_id.{0,80}(?:too long|match)|tool_?use_?id.{0,80}(?:pattern|length|constraint)"
)
_EARLIER = re.compile(
    r"thought[_ ]?signature|(?:reasoning_content|\bthinking\b|reasoning).{0,60}"
    r"(?:must be (?:passed|sent|provided|included)|is missing|required)|tools= param"
    r"|missing\W+(?:\w+\W+){0,2}?reasoning_content"
)
_REASONING = re.compile(
    r"reasoning(?:_content|_details|_text|_opaque)?\b|thinking_blocks|extra_content"
    r"|provider_specific_fields"
)
_FORMAT = re.compile(
    r"response[_ ]?format|json[_ ]?(?:schema|object|mode)|structured[_ ]outputs?|\bguided\b"
    r"|\bgrammar|constrained|response[_ ]mime|response[_ ]?schema|text\.format|output[_ ]format"
    r"|json_validate_failed|fail(?:ed|s) to generate json"
)
# Words about one schema, which say nothing of the next one.
_THIS_SCHEMA = re.compile(
    r"(?:invalid|unrecogni[sz]ed|bad) (?:json )?schema|in context=|schema (?:conversion|contains)"
    r"|keyword|unknown name|json_validate_failed|generate json|\$ref|\bgrammar"
    r"|schema.{0,40}(?:too|not valid|invalid)|features not supported"
)
_EMPTY = re.compile(
    r"content\b.{0,60}\b(?:none is not|null|nil\b|must be (?:a )?(?:string|non)"
    r"|valid string|required|missing|empty\b|non-empty)|missing.{0,20}content"
    r"|none is not an allowed|invalid type: null",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """The parts of a request that a server may refuse and that can be left out."""

    tools: bool = False
    calls: bool = False
    streamed: bool = False
    system: bool = False
    alternating: bool = True
    reasoning: bool = False
    earlier_calls: bool = False
    empty_content: bool = False
    options: tuple[str, ...] = ()
    format: Part | None = None


def refused_part(status: int, words: str, sent: Sent, left_out: Iterable[Part]) -> Part | None:
    """The part of the request that the words, in lower case, are about; None when they are not.

    `status` is 200 for words in an answer. A part that was not sent, or is left out already, is
    not what they are about.
    """
    if not words and sent.format is not None and status in (400, 422):
        return sent.format  # the newest part of the dialect is the first to be doubted
    if not words or not (status == 200 or status in STATUSES):
        return None
    gone = set(left_out)
    found = (part for part in _candidates(status, words, sent) if part not in gone)
    return next(found, None)


def _candidates(status: int, words: str, sent: Sent) -> Iterable[Part]:
    if sent.calls and _IDS.search(words):
        yield CALL_IDS
    if sent.earlier_calls and _EARLIER.search(words):
        yield EARLIER_CALLS
    if is_overflow(words) and status not in (403, 404, 405):
        return
    if sent.streamed and re.search(r"stream[_ ]options|include_usage", words):
        yield STREAM_OPTIONS
    if sent.empty_content and _EMPTY.search(words):
        yield EMPTY_CONTENT
    if _ROLES.search(words):
        if not sent.alternating:
            yield ROLE_ORDER
        if sent.system:
            yield SYSTEM
        if sent.tools and sent.calls:
            yield TOOLS
    if not sent.streamed and _ONLY_STREAM.search(words):
        yield WHOLE
    if sent.format is not None and _FORMAT.search(words):
        yield sent.format
    if not NO.search(words):
        return
    if sent.reasoning and _REASONING.search(words):
        yield REASONING
    if sent.system and _SYSTEM.search(words):
        yield SYSTEM
    yield from (
        name
        for name in sent.options
        if re.search(rf"\b{re.escape(name.lower())}\b", words)
        and (name not in NEVER_LEFT_OUT or RENAMED.get(name, "\0") in words)
    )
    if sent.tools and _TOOLS.search(words):
        yield TOOLS
    if sent.streamed and _STREAM.search(words):
        yield STREAM


def is_of_this_request(part: Part, words: str) -> bool:
    """Whether the refusal tells nothing of other requests with such a part."""
    return part in FORMATS and _THIS_SCHEMA.search(words) is not None


class Refusals:
    """Remembers what the models of one server refuse, for `KEPT_SECONDS` each.

    A part is learned only when a request without it was answered: words alone could be a user's.
    After that time it is sent again, because servers and models are changed.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._until: dict[str, dict[Part, float]] = {}

    def of(self, model: str) -> frozenset[Part]:
        """The parts that requests to this model go without."""
        parts = self._until.get(model)
        if not parts:
            return frozenset()
        now = self._now()
        return frozenset([part for part, until in parts.items() if until > now])

    def learn(self, model: str, left_out: frozenset[Part], *, say: bool = True) -> None:
        """Remembers what a request that was answered had left out; logs once what is new."""
        new = left_out - self.of(model)
        if not new:
            return
        now = self._now()
        with self._lock:
            if model not in self._until and len(self._until) >= MOST_MODELS:
                del self._until[next(iter(self._until))]
            self._until[model] = {
                **self._until.get(model, {}),
                **dict.fromkeys(new, now + KEPT_SECONDS),
            }
        for part in sorted(new) if say else ():
            logger.warning("model_part_refused", extra={"model": model, "part": part})


def told(parts: Iterable[Part], options: Mapping[str, object]) -> list[str]:
    """The parts as an operator reads them."""
    return [
        f"{part} (sent as {RENAMED[part]})" if part in options and part in RENAMED else part
        for part in sorted(parts)
    ]
