"""Tells from a server's words whether the messages are too long for the model; no HTTP here."""

from __future__ import annotations

import re

_MUCH = r"(?:too|over(?:ly)?|zu|trop|demasiado|troppo) ?(?:long|large|big|lang|larg[oa]|lung[oa])"
_WHAT = (
    r"(?:prompts?|inputs?|messages?|conversation|chat|history|context|requests?|sequence|query"
    r"|text|body|payload|content|eingabe|entrée|entrada|mensaje|requête)"
)
_MORE = (
    r"(?:exceed\w*|surpass\w*|overflow\w*|(?:larger|longer|greater|more|bigger) than|beyond"
    r"|überschreit\w*|dépass\w*|supera|excede)"
)
_MOST = (
    r"(?:context|n_ctx|kontext|contexte?o?|token limit|input limit|prompt limit|limit of \d"
    r"|(?:max\w*\W+(?:\w+\W+){0,4}?(?:tokens?|length|size|context|input|prompt|sequence)))"
)
TOO_LONG = re.compile(
    "|".join(
        (
            # names that stand for it
            r"context_length_exceeded|context_window_exceeded|exceed_context_size"
            r"|context_too_l|prompt_too_l|input_too_l|request_too_large|tokens_limit_reached"
            r"|string_above_max_length|max_prompt_tokens_exceeded",
            # "the prompt is too long", "request body too large", "too large for model with 32768"
            rf"\b{_WHAT}(?:[^\w\n]+\w+){{0,2}}?[^\w\n]+"
            rf"(?:(?:is|are|was|were|ist|est|es|è) )?{_MUCH}\b",
            rf"\b{_MUCH}\b.{{0,40}}\b(?:prompt|input|messages?|context|tokens|model with)\b",
            r"\btoo (?:many|much)\b.{0,40}\b(?:tokens|messages|characters)\b",
            # "maximum context length is 8192 tokens", "maximum prompt length is 131072"
            r"\bmax\w*\W+(?:context|prompt|input|sequence|model|conversation)\W+"
            r"(?:length|len|size|window)\b",
            # "exceeds the available context size", "is longer than the model's context length"
            rf"\b{_MORE}\b.{{0,60}}?\b{_MOST}",
            # "context window exceeds limit", "total tokens exceed", "n_ctx too small"
            r"\b(?:context\b|n_ctx\b|token (?:count|limit|number)|tokens\b"
            r"|(?:input|prompt|sequence|message)\W+(?:tokens?|length|size)).{0,60}"
            r"\b(?:exceed|overflow|surpass|too small)",
            r"\brange of (?:input|prompt) length should be\b|\bexpected maxlength\b",
            # "please reduce the length of the messages", "reduce the input token count"
            r"\breduce (?:the |your )?(?:length|size|prompt|input|messages?|context|conversation"
            r"|number of (?:tokens|messages))\b",
            r"\bcontext (?:window|length|size|limit) (?:is )?only\b|\b(?:not|n't) fit\b",
            r"\bmust have (?:less|fewer) than \d+ tokens\b",
            r"\binputs?\b.{0,80}\btokens\b.{0,40}\bmust be\b",
            # other languages
            r"(?:上下文|输入|提示|消息|请求|内容|对话|prompt|token).{0,16}"
            r"(?:过长|超长|超过|超出|超限|太长|过大)",
            r"(?:超过|超出).{0,16}(?:上下文|最大|长度|token|限制)",
            r"長すぎ|(?:コンテキスト|トークン|入力).{0,20}(?:超え|超過)",
            r"너무 (?:깁|길|긴)|(?:컨텍스트|토큰|입력).{0,20}초과",
            r"слишком (?:длин|больш)|(?:контекст|токен).{0,30}превы|превы.{0,30}(?:контекст|токен)",
        )
    )
)
# The limit of requests or of the answer's length, and things that are no messages.
ANOTHER_MATTER = re.compile(
    r"at most \d+ completion tokens|\b(?:took|takes|taking|taken) too long"
    r"|\b(?:images?|files?|tool names?|function names?) (?:is |are )?too"
    r"|'(?:tools?|functions?|user|metadata|stop)\b[\w.\[\]]*'"
)
TOO_OFTEN = re.compile(
    r"rate.?limit|too many requests|per (?:min\w*|second|hour|day)\b"
    r"|try again (?:in|later|after)|please wait|throttl|quota|over capacity|overloaded"
)
# Limits of so many tokens a minute also refuse the one request that is larger by itself.
LARGER_BY_ITSELF = re.compile(r"request too large|reduce your (?:message|prompt)|must be reduced")


def is_overflow(words: str) -> bool:
    """Whether the server's words, in lower case, say that fewer messages would help."""
    if LARGER_BY_ITSELF.search(words):
        return True
    if TOO_OFTEN.search(words) or ANOTHER_MATTER.search(words):
        return False
    return bool(TOO_LONG.search(words))
