"""Tests of what servers' words are understood to mean, in the words that servers use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.agent.completions.overflow import is_overflow
from webapp.agent.completions.refusals import (
    CALL_IDS,
    EARLIER_CALLS,
    EMPTY_CONTENT,
    REASONING,
    ROLE_ORDER,
    STREAM,
    STREAM_OPTIONS,
    SYSTEM,
    TOOLS,
    WHOLE,
    Refusals,
    Sent,
    refused_part,
)
from webapp.agent.completions.words import words_of_body

STREAMED = Sent(tools=True, system=True, streamed=True)
ASKED_WHOLE = Sent(tools=True, system=True)
ALL = Sent(
    tools=True,
    calls=True,
    streamed=True,
    system=True,
    alternating=False,
    reasoning=True,
    earlier_calls=True,
    empty_content=True,
    options=("temperature", "max_tokens", "response_format"),
)


def frames(said: Any) -> list[bytes]:
    """The same words in each frame in which servers send them."""
    if not isinstance(said, str):
        return [json.dumps(said).encode()]
    packed = json.dumps({"error": {"message": said}})
    framed: list[Any] = [
        {"error": {"message": said, "type": "invalid_request_error", "code": None}},
        {"error": said, "code": 400},
        {"object": "error", "message": said},
        {"detail": said},
        {"detail": [{"msg": said, "input": "hello"}]},
        [{"error": {"message": said}}],
        {"errors": [{"message": said}]},
        {"error": {"message": "Provider returned error", "metadata": {"raw": packed}}},
        {"error": {"message": f"400 Bad Request {packed}"}},
    ]
    bodies = [json.dumps(each, ensure_ascii=False).encode() for each in framed]
    return [said.encode(), *bodies, b"data: " + bodies[0] + b"\n\n"]


REFUSALS: list[tuple[str | None, Sent, int, Any]] = [
    (
        TOOLS,
        STREAMED,
        400,
        ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    ),
    (TOOLS, STREAMED, 400, "registry.ollama.ai/library/gemma3:4b does not support tools"),
    (
        TOOLS,
        STREAMED,
        404,
        {
            "error": {
                "message": (
                    "No endpoints found that support tool use. To learn more about provider "
                    "routing, visit: https://x"
                ),
                "code": 404,
            }
        },
    ),
    (TOOLS, STREAMED, 404, "No endpoints found that support the provided 'tool_choice' value."),
    (
        TOOLS,
        STREAMED,
        500,
        {
            "error": {
                "code": 500,
                "message": "tools param requires --jinja flag",
                "type": "server_error",
            }
        },
    ),
    (TOOLS, STREAMED, 500, "Unsupported param: tools"),
    (
        TOOLS,
        STREAMED,
        405,
        ("deepinfra error: Tool calling is not supported for model: mistralai/Mistral-Small"),
    ),
    (
        TOOLS,
        STREAMED,
        400,
        "Functions are not supported for this API version or this model version.",
    ),
    (
        TOOLS,
        STREAMED,
        400,
        (
            "tools is not supported in this model. For a list of supported models, refer "
            "to https://platform"
        ),
    ),
    (
        TOOLS,
        STREAMED,
        422,
        {
            "object": "Error",
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "tools"],
                    "msg": "Extra inputs are not permitted",
                    "input": [],
                }
            ],
        },
    ),
    (TOOLS, STREAMED, 400, "This model doesn't support tool use in streaming mode."),
    (TOOLS, STREAMED, 400, "`tool calling` is not supported with this model"),
    (TOOLS, STREAMED, 500, "Internal server error: Unsupported tool_call_parser: None"),
    (TOOLS, STREAMED, 400, "当前模型不支持工具调用"),
    (TOOLS, STREAMED, 400, "No connected provider supports tool calling for this model."),
    (TOOLS, STREAMED, 400, "Unrecognized request argument supplied: tools"),
    (TOOLS, STREAMED, 400, "Unknown parameter: 'tools'."),
    (TOOLS, STREAMED, 400, "function calling is not enabled for this model"),
    (TOOLS, STREAMED, 501, "Tool use is not implemented"),
    (
        STREAM_OPTIONS,
        STREAMED,
        400,
        "Validation error at #/stream_options: Extra inputs are not permitted",
    ),
    (STREAM_OPTIONS, STREAMED, 400, "Unrecognized request argument supplied: stream_options."),
    (STREAM_OPTIONS, STREAMED, 400, "Unknwon parameter: 'stream_options'"),
    (
        STREAM_OPTIONS,
        STREAMED,
        422,
        {
            "error": {
                "code": "Invalid input",
                "message": (
                    '{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", '
                    '"include_usage"], "msg": "Extra inputs are not permitted", "input": true}]}'
                ),
                "status": 422,
            }
        },
    ),
    (
        STREAM,
        STREAMED,
        400,
        {
            "error": {
                "message": (
                    "Unsupported value: 'stream' does not support true with this model. Only the "
                    "default (false) value is supported."
                ),
                "type": "invalid_request_error",
                "param": "stream",
                "code": "unsupported_value",
            }
        },
    ),
    (
        STREAM,
        STREAMED,
        400,
        {
            "error": {
                "message": (
                    "Your organization must be verified to stream this model. Please go to: "
                    "https://x and click on Verify Organization."
                ),
                "type": "invalid_request_error",
                "param": "stream",
                "code": "unsupported_value",
            }
        },
    ),
    (STREAM, STREAMED, 403, "Streaming requests are not yet allowed."),
    (STREAM, STREAMED, 400, "Streaming is not supported for this endpoint"),
    (STREAM, STREAMED, 501, "stream=true is not implemented"),
    (
        STREAM,
        STREAMED,
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": (
                        '{"error": {"message": "Your organization must be verified to stream this '
                        'model.", "param": "stream", "code": "unsupported_value"}}'
                    )
                },
            }
        },
    ),
    (
        WHOLE,
        ASKED_WHOLE,
        400,
        (
            "This model only support stream mode, please enable the stream parameter to "
            "access the model."
        ),
    ),
    (
        WHOLE,
        ASKED_WHOLE,
        400,
        "parameter.enable_thinking must be set to false for non-streaming calls",
    ),
    (WHOLE, ASKED_WHOLE, 400, "Non-streaming requests are not supported"),
    (WHOLE, ASKED_WHOLE, 400, "stream must be true"),
    (
        SYSTEM,
        STREAMED,
        400,
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    ),
    (SYSTEM, STREAMED, 400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    (SYSTEM, STREAMED, 400, "System role not supported"),
    (SYSTEM, STREAMED, 400, "role 'system' is not supported on this model"),
    (SYSTEM, STREAMED, 500, "Only user and assistant roles are supported!"),
    (
        SYSTEM,
        STREAMED,
        422,
        {
            "detail": [
                {
                    "type": "literal_error",
                    "loc": ["body", "messages", 0, "role"],
                    "msg": "Input should be 'user' or 'assistant'",
                }
            ]
        },
    ),
    (SYSTEM, STREAMED, 500, "Unknown role: system"),
    (SYSTEM, STREAMED, 400, "Invalid role: system"),
    (SYSTEM, STREAMED, 400, "System messages are not supported"),
    (SYSTEM, STREAMED, 400, "system message is unsupported for this model"),
    (SYSTEM, STREAMED, 400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (ROLE_ORDER, ALL, 400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (
        ROLE_ORDER,
        ALL,
        400,
        (
            "After the (optional) system message(s), user or tool message(s) should "
            "alternate with assistant message(s)."
        ),
    ),
    (
        CALL_IDS,
        ALL,
        400,
        "Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9.",
    ),
    (
        CALL_IDS,
        ALL,
        400,
        (
            "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string "
            "with maximum length 40, but got a string with length 41 instead."
        ),
    ),
    (
        CALL_IDS,
        ALL,
        400,
        ("messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    ),
    (
        EARLIER_CALLS,
        ALL,
        400,
        "Function call is missing a thought_signature in functionCall parts.",
    ),
    (
        EARLIER_CALLS,
        ALL,
        400,
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
    ),
    (
        REASONING,
        ALL,
        400,
        (
            "'messages.2' : for 'role:assistant' the following must be "
            "satisfied[('messages.2' : property 'reasoning_content' is unsupported)]"
        ),
    ),
    (
        "temperature",
        ALL,
        400,
        (
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only "
            "the default (1) value is supported."
        ),
    ),
    (
        "max_tokens",
        ALL,
        400,
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead."
        ),
    ),
    (EMPTY_CONTENT, ALL, 400, "messages.2.content: none is not an allowed value"),
    (
        None,
        STREAMED,
        400,
        {
            "error": {
                "message": "Failed to call a function. Please adjust your prompt.",
                "code": "tool_use_failed",
                "failed_generation": "does not support tools",
            }
        },
    ),
    (
        None,
        STREAMED,
        400,
        (
            "max_tokens is too large: 8192. This model supports at most 4096 completion "
            "tokens, whereas you provided 8192."
        ),
    ),
    (None, STREAMED, 401, "Incorrect API key provided; streaming not supported"),
    (None, STREAMED, 429, "Rate limit reached"),
    (
        None,
        STREAMED,
        404,
        {
            "error": {
                "message": "The model `x` does not exist or you do not have access to it.",
                "code": "model_not_found",
            }
        },
    ),
    (
        None,
        STREAMED,
        400,
        {
            "error": {
                "message": "Invalid value",
                "input": "the model does not support tools, stream, system role",
            }
        },
    ),
    (None, STREAMED, 500, "The server had an error while processing your request"),
    (TOOLS, STREAMED, 400, "当前模型不支持function call"),
    (TOOLS, STREAMED, 400, "このモデルはツール呼び出しをサポートしていません"),
    (TOOLS, STREAMED, 400, "이 모델은 함수 호출을 지원하지 않습니다"),
    (TOOLS, STREAMED, 400, "Модель не поддерживает вызов функций"),
    (TOOLS, STREAMED, 400, "Este modelo não suporta ferramentas"),
    (TOOLS, STREAMED, 400, "Ce modèle ne prend pas en charge les outils"),
    (TOOLS, STREAMED, 400, "Tool calling is currently unavailable for this model"),
    (TOOLS, STREAMED, 400, "This model is incapable of function calling"),
    (TOOLS, STREAMED, 400, "Invalid parameter: tools"),
    (SYSTEM, STREAMED, 400, "role 'system' is invalid"),
    (SYSTEM, STREAMED, 400, "unknown variant `system`, expected `user` or `assistant`"),
    (SYSTEM, STREAMED, 400, "该模型不支持系统提示词"),
    (SYSTEM, STREAMED, 400, "Please use a valid role: user, model."),
    (SYSTEM, STREAMED, 400, {"error_msg": "the role of first message must be user"}),
    (STREAM, STREAMED, 400, "streaming is unavailable"),
    (STREAM, STREAMED, 400, "SSE unsupported"),
    ("temperature", ALL, 400, "`temperature` and `top_p` cannot both be specified"),
    (EMPTY_CONTENT, ALL, 400, "messages[2].content is nil"),
    (
        EMPTY_CONTENT,
        ALL,
        422,
        {"detail": [{"loc": ["messages", 2, "content"], "msg": "Input should be a valid string"}]},
    ),
    (CALL_IDS, ALL, 400, "toolUseId failed to satisfy constraint: pattern [a-zA-Z0-9_-]+"),
    (EARLIER_CALLS, ALL, 400, "Missing reasoning_content field in the message at index 2."),
]


@pytest.mark.parametrize(("part", "sent", "status", "said"), REFUSALS)
def test_a_refused_part_is_known_by_its_words(
    part: str | None, sent: Sent, status: int, said: Any
) -> None:
    for body in frames(said):
        assert refused_part(status, words_of_body(body), sent, ()) == part


@pytest.mark.parametrize(("part", "sent", "status", "said"), [r for r in REFUSALS if r[0]])
def test_a_part_that_is_left_out_already_is_not_what_is_refused(
    part: str, sent: Sent, status: int, said: Any
) -> None:
    words = words_of_body(frames(said)[0])
    assert refused_part(status, words, sent, {part}) != part
    assert refused_part(401, words, sent, ()) is None
    assert refused_part(429, words, sent, ()) is None


def test_what_bounds_or_shapes_an_answer_is_never_left_out() -> None:
    for words in ("'response_format' is not supported", "unsupported parameter: max_tokens"):
        assert refused_part(400, words, ALL, ()) is None


@pytest.mark.parametrize("field", ["input", "failed_generation", "request", "body", "ctx"])
def test_what_a_server_repeats_of_the_request_is_not_its_own_word(field: str) -> None:
    said = {"error": {"message": "Bad request", field: "the model does not support tools"}}
    words = words_of_body(json.dumps(said).encode())
    assert refused_part(400, words, ALL, ()) is None
    assert words == "bad request"


TOO_LONG: list[Any] = [
    (
        "This model's maximum context length is 8192 tokens. However, your messages "
        "resulted in 9000 tokens (8000 in the messages, 1000 in the functions). Please "
        "reduce the length of the messages or functions."
    ),
    ("request (6009 tokens) exceeds the available context size (4096 tokens), try increasing it"),
    "prompt is too long: 209353 tokens > 199999 maximum",
    ("The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."),
    ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 80125"),
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    ("This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    (
        "Trying to keep the first 5120 tokens when context the overflows. However, the "
        "number of tokens to keep from the initial prompt is greater than the context "
        "length."
    ),
    "Range of input length should be [1, 129024]",
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5555"),
    "Too many input tokens. Max input tokens: 8192, request input token count: 9279",
    (
        "Malformed input request: expected maxLength: 50000, actual: 52611, please "
        "reformat your input and try again."
    ),
    "Input is too long for requested model.",
    (
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
        "decrease input length or `max_tokens` and try again"
    ),
    (
        "Prompt contains 65673 tokens and 0 draft tokens, too large for model with "
        "32768 maximum context length"
    ),
    "Requested tokens (5000) exceed context window of 4096",
    (
        "Request too large for model `llama` in organization `org` service tier "
        "`on_demand` on tokens per minute (TPM): Limit 6000, Requested 7500, please "
        "reduce your message size and try again."
    ),
    "Request body too large for gpt-4o model. Max size: 8000 tokens.",
    "prompt token count of 135321 exceeds the limit of 128000",
    "invalid params, context window exceeds limit (2013)",
    ("Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)"),
    "Prompt exceeds max length",
    "Total tokens of image and text exceed max message tokens.",
    (
        "Your input exceeds the context window of this model. Please adjust your input "
        "and try again."
    ),
    ("The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
    (
        "Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens). "
        "Use a shorter input or enable --allow-auto-truncate."
    ),
    (
        "Unable to submit request because the input token count is 40000 but model "
        "only supports up to 32768. Reduce the input token count and try again."
    ),
    (
        "Please reduce the length of the messages or completion. Current length is "
        "9000 while limit is 8192"
    ),
    "The prompt is too long: 9000, model maximum context length: 8191",
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 10000. This model's "
        "maximum context length is 16384 tokens and your request has 9000 input tokens"
    ),
    "prompt too long; exceeded max context length by 300 tokens",
    "input length exceeds maximum context length",
    "context length exceeded",
    "Token limit exceeded",
    "Input prompt (5000 tokens) is too long and exceeds limit of 4096",
    "请求的上下文长度超过模型最大限制",
    "输入内容过长",
    "プロンプトが長すぎます",
    "Die Eingabe ist zu lang",
    "El mensaje es demasiado largo",
    "Le prompt est trop long",
    (
        "Invalid 'messages[3].content': string too long. Expected a string with "
        "maximum length 1048576"
    ),
    (
        "Invalid 'messages': array too long. Expected an array with maximum length "
        "2048, but got an array with length 3000 instead."
    ),
    "the prompt has 9000 tokens, but the context window is only 8192 tokens",
    "Conversation is too large",
    (
        "This endpoint's maximum context length is 32768 tokens. However, you "
        "requested about 40000 tokens"
    ),
    "context_length_exceeded",
    "The request exceeds the model's maximum input length",
    (
        "You passed 9000 input tokens and requested 0 output tokens. However, the "
        "model's context length is only 8192 tokens, resulting in a maximum input "
        "length of 8192 tokens. Please reduce the length of the input prompt."
    ),
    ("the number of input tokens 9000 cannot exceed the total tokens limit 8192 for this model"),
    "Error: n_ctx too small",
    "KV cache is full: prompt does not fit in the context",
    " The sum of prompt tokens and max tokens must not exceed 4096",
    "input tokens exceed the configured limit of 272000 tokens",
    "Number of tokens in the request exceeds model limit",
    {"error_code": 336007, "error_msg": "the max length of messages must be less than 20000"},
    {"base_resp": {"status_code": 2013, "status_msg": "context window exceeds limit (2013)"}},
    {"Response": {"Error": {"Code": "InvalidParameter", "Message": "Messages 内容总长度超过限制"}}},
    {
        "error_code": "BAD_REQUEST",
        "message": json.dumps(
            {"external_model_error": {"message": "Input is too long for requested model."}}
        ),
    },
    "Your prompt has 9000 tokens but the model window is 8192",
    "Malformed input request: #: the length of the input exceeds the limit",
    (
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must "
        "have length less than or equal to 25000000"
    ),
    "length of prompt_tokens must be less than max_seq_len",
    "Prompt tokens (9000) + max_tokens (100) > context (8192)",
    "max_tokens must be at least 1, got -808.",
    "ContextWindowExceededError: prompt tokens over limit",
    "Please shorten your prompt and try again",
    "message length limit reached",
    "Token limit reached for this conversation",
    "The text you provided is longer than what the model can handle (9000 > 8192 tokens)",
    "This model supports at most 8192 tokens in the context, but you have given 9000",
    "The context length of this model is 8192 but got 9000",
    "the total number of tokens 9000 is above the maximum of 8192",
    "max_prompt_length exceeded",
    "Maximum request body size exceeded",
    "Conversation history exceeds the allowed length",
    "tokens数量超过上限 4096",
    "对话内容太长，请缩短后重试",
    "問題過長",
    "請求內容過長，超過上下文長度",
    "Длина запроса превышает максимальный размер контекста модели",
    "O comprimento do prompt excede o limite máximo de tokens do modelo",
    "A mensagem é muito longa",
    "Die Anfrage ist zu groß für das Kontextfenster",
]


@pytest.mark.parametrize("said", TOO_LONG)
def test_a_conversation_that_is_too_long_is_known_in_each_servers_words(said: Any) -> None:
    for body in frames(said):
        words = words_of_body(body)
        assert is_overflow(words)
        assert refused_part(400, words, STREAMED, ()) is None


ANOTHER_MATTER = [
    (
        "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 9000, "
        "Requested 2000. Please try again in 6s."
    ),
    "Too many tokens, please wait before trying again.",
    (
        "max_tokens is too large: 8192. This model supports at most 4096 completion "
        "tokens, whereas you provided 8192."
    ),
    "The request took too long to process",
    "Your request is taking too long",
    "image is too large",
    "tools: array too long. Expected an array with maximum length 128",
    "You exceeded your current quota, please check your plan",
    "Request timed out",
    ("Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64"),
    "Too many requests",
    "The server is overloaded",
    "You have reached your specified API usage limits.",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "max_tokens must be less than or equal to 4096",
    "Maximum number of concurrent requests exceeded",
    "Token expired",
    "invalid token",
    "Your token has exceeded its lifetime",
    "Insufficient balance: tokens used up",
    "message: internal error",
    "Maximum execution time exceeded",
    ("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
    "context canceled",
    "Your daily token limit has been exceeded",
    "ExceededBudget: User over budget. Spend=5, Budget=4",
    "The maximum tokens you requested exceeds the model limit of 8192.",
    "Number of requests exceeds the limit",
    "stop sequence too long",
    "Tool name exceeds maximum length of 64",
    "metadata value exceeds maximum length of 512 characters",
    "image dimensions exceed max allowed size",
    "The input audio is too long",
    "请求过于频繁，超出限制，请稍后再试",
    "请求次数超过限制",
    "今日 token 额度已超出限制，请充值",
    "每分钟token数超过限制",
    "该模型请求量过大，请稍后重试",
]


@pytest.mark.parametrize("said", ANOTHER_MATTER)
def test_another_fault_is_no_conversation_that_is_too_long(said: str) -> None:
    for body in frames(said):
        assert not is_overflow(words_of_body(body))


@pytest.mark.parametrize("body", [b"", b" \n", b"<html>prompt is too long</html>", b"null", b"{}"])
def test_a_page_or_nothing_has_no_words(body: bytes) -> None:
    assert words_of_body(body) in ("", "null")


def test_words_are_bounded_whatever_a_server_sends() -> None:
    assert len(words_of_body(b"[" * 1_000_000)) <= 4000
    assert len(words_of_body(json.dumps({"error": "x" * 1_000_000}).encode())) <= 4000
    assert len(words_of_body(json.dumps({"errors": [{"msg": "y" * 999}] * 9999}).encode())) <= 4000


def test_what_is_learned_is_kept_for_an_hour_for_one_model() -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    assert refusals.of("m") == frozenset()
    refusals.learn("m", frozenset({TOOLS}))
    now[0] = 1800
    refusals.learn("m", frozenset({TOOLS, STREAM}))
    assert refusals.of("m") == {TOOLS, STREAM}
    assert refusals.of("other") == frozenset()
    now[0] = 3601
    assert refusals.of("m") == {STREAM}
    now[0] = 9000
    assert refusals.of("m") == frozenset()


def test_so_many_models_are_remembered_and_no_more() -> None:
    refusals = Refusals(lambda: 0.0)
    for number in range(200):
        refusals.learn(f"m{number}", frozenset({TOOLS}))
    assert refusals.of("m0") == frozenset()
    assert refusals.of("m199") == {TOOLS}


def test_what_is_learned_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(lambda: 0.0)
    for _ in range(3):
        refusals.learn("m", frozenset({TOOLS}))
    assert [record.getMessage() for record in caplog.records] == ["model_part_refused"]
