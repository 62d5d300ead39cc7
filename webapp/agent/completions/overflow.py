"""Tells from a server's words whether the messages are too long for the model; no HTTP here."""

from __future__ import annotations

import re

_MUCH = (
    r"(?:too|over(?:ly)?|zu|trop|demasiado|troppo|muito|za|çok)"
    r" ?(?:long[oa]?|large|big|lang|groß|larg[oa]|lung[oa]|dług\w+|uzun)"
)
_WHAT = (
    r"(?:prompts?|inputs?|messages?|conversation|chat|history|context|requests?|sequence|query"
    r"|text|body|payload|content|eingabe|entrée|entrada|mensaje|requête|mensagem"
    r"|anfrage|wiadomość|zapytanie|mesaj)"
)
_MORE = (
    r"(?:exceed\w*|surpass\w*|overflow\w*|(?:larger|longer|greater|more|bigger) than|beyond|above"
    r"|überschreit\w*|dépass\w*|supera|excede\w*|ultrapassa|eccede)"
)
_MOST = (
    r"(?:context|n_ctx|kontext|contexte?o?|window|token limit|input limit|prompt limit|limit of \d"
    r"|(?:m[aá]x\w*\W+(?:\w+\W+){0,4}?(?:tokens?|length|size|context|input|prompt|sequence)))"
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
            r"\bmax[a-z]*[\W_]+(?:context|prompt|input|sequence|model|conversation|request|body)"
            r"[\W_]+(?:body )?(?:length|len|size|window)\b",
            # "exceeds the available context size", "is longer than the model's context length"
            rf"\b{_MORE}\b.{{0,60}}?\b{_MOST}",
            # "context window exceeds limit", "total tokens exceed", "n_ctx too small"
            rf"\b{_WHAT}[^\w\n]+(?:\w+[^\w\n]+){{0,2}}{_MORE}\b.{{0,40}}\b(?:length|size|limit)\b",
            rf"\b{_WHAT}\b.{{0,30}}(?<!must be )\b(?:longer|larger|bigger|greater) than\b",
            r"\btokens?\b.{0,20}\d > (?:\w+ )?\d|\bat most \d+ tokens in\b",
            r"\btokens \d+ is (?:above|over)\b",
            r"\btoken limit (?:is |was |has been )?(?:reached|hit)\b",
            r"\bcontext (?:length|size|window).{0,40}\bbut (?:got|received|you)\b",
            r"\b(?:context\b(?! deadline| cancel)|n_ctx\b|token (?:count|limit|number)|tokens\b"
            r"|(?:input|prompt|sequence|message|payload|body)\W+(?:tokens?|length|size)).{0,60}"
            r"\b(?:exceed|overflow|surpass|too small)",
            r"\brange of (?:input|prompt) length should be\b|\bexpected maxlength\b",
            # "please reduce the length of the messages", "reduce the input token count"
            r"\b(?:reduce|shorten|decrease|trim) (?:the |your )?(?:length|size|prompt|input"
            r"|messages?|context|conversation|number of (?:tokens|messages))\b",
            # "prompt tokens over limit", "the length of the input exceeds the limit"
            r"\b(?:prompt|input|messages?|context|conversation)\W+(?:length|size|tokens?)\W+"
            r"(?:(?:is|are) )?(?:over|above|limit)\b",
            r"\blength of (?:all |the |your )*(?:prompt|input|messages?|requests?|conversation)"
            r".{0,40}(?:exceed|beyond|over |above )",
            # said as "must be less than max_seq_len", or as a sum that is larger than the context
            r"\bmust be (?:(?:less|smaller|lower|fewer) than|at most|<)\D{0,20}\bmax\w*[_ ]"
            r"(?:seq|model|context|input|position|prompt)",
            r"\b(?:prompt|input)\b.{0,60} > (?:\w+ ){0,3}(?:context|max|n_ctx|limit|window)",
            r"\b(?:prompt|input|request|messages?)\b.{0,30}\b\d+ tokens\b.{0,40}"
            r"\b(?:window|limit|max\w*|context)\b.{0,12}\b\d",
            r"\bmax\w* (?:length|size|number) of (?:the |all )*"
            r"(?:messages|prompts?|inputs?|tokens)\b",
            r"'body' failed.{0,60}length less than",
            # what is left for the answer, when the messages take more than all
            r"\bmax_(?:completion_|new_)?tokens.{0,40}\bgot -\d",
            r"\bcontext (?:window|length|size|limit) (?:is )?only\b|\b(?:not|n't) fit\b",
            r"\bmust have (?:less|fewer) than \d+ tokens\b",
            r"\binputs?\b.{0,80}\btokens\b.{0,40}\bmust be\b",
            # other languages
            r"(?:上下文|输入|輸入|提示|消息|訊息|请求|請求|内容|內容|对话|對話|会话|问题|問題|文本|字数|prompt"
            r"|token).{0,16}(?:[过過]长|[过過]長|超[长長]|超[过過]|超出|超限|太[长長]|[过過]大)",
            r"(?:超[过過]|超出).{0,16}(?:上下文|最大|[长長]度|token|限制)",
            r"長すぎ|(?:コンテキスト|トークン|入力).{0,20}(?:超え|超過)",
            r"너무 (?:깁|길|긴)|(?:컨텍스트|토큰|입력).{0,20}초과",
            r"длина .{0,40}превы|слишком (?:длин|больш)|(?:контекст|токен).{0,30}превы"
            r"|превы.{0,30}(?:контекст|токен)",
        )
    )
)
# The limit of requests or of the answer's length, and things that are no messages.
ANOTHER_MATTER = re.compile(
    r"at most \d+ completion tokens|\bmax\w* tokens you requested"
    r"|\b(?:took|takes|taking|taken) too long"
    r"|\b(?:images?|files?|audio|video|stop sequences?)(?: size| dimensions?| file)?"
    r" (?:is |are )?(?:too|exceed)|\b(?:(?:tools?|functions?|metadata|user)(?: \w+)?)"
    r" (?:is |are )?(?:too|exceed)"
    r"|'(?:tools?|functions?|user|metadata|stop)\b[\w.\[\]]*'"
)
TOO_OFTEN = re.compile(
    r"rate.?limit|too many requests|number of requests|per (?:min\w*|second|hour|day)\b"
    r"|(?:daily|hourly|weekly|monthly)\b|usage limit|budget|credits|balance|billing|concurren"
    r"|try again (?:in|later|after)|please wait|throttl|quota|over capacity|overloaded"
    r"|频繁|频率|每(?:分钟|小时|天|日)|次数|并发|限流|限额|额度|配额|余额|欠费|充值|稍后|繁忙|请求(?:量)?过[多大]"
    r"|頻度|回数|リクエスト(?:数|が多)|할당량|요청이 너무 많|слишком много запрос|квот"
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
