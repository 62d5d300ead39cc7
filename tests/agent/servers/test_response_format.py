"""The form of an answer, and servers that have it, refuse it, or take no notice of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.upstream import Answer, Behaviour, completion, saying, streaming, upstream
from webapp.agent import Agent, Finished, OpenAIModel, RunOutput
from webapp.errors import AnswerInvalid, ModelError

GOOD = '{"city":"Rome"}'


class Place(BaseModel):
    city: str


def refusing(words: str | None, *kinds: str, status: int = 400) -> Behaviour:
    """A server that refuses these kinds of `response_format` and answers otherwise."""

    def behave(request: dict[str, Any]) -> Answer:
        if request.get("response_format", {}).get("type") in kinds:
            body = b"" if words is None else json.dumps({"error": {"message": words}}).encode()
            return Answer(body, status=status)
        return streaming(GOOD) if request.get("stream") else saying(GOOD)

    return behave


def ask(behave: Behaviour, *, times: int = 1, **options: Any) -> tuple[list[dict[str, Any]], Any]:
    """What the server was sent, and the last outcome of so many turns."""
    with (
        upstream(behave) as server,
        OpenAIModel("m", base_url=server.base_url, max_retries=0, **options) as model,
    ):
        agent = Agent(name="clerk", model=model, instructions="Be brief.", output_type=Place)
        for number in range(times):
            outcome: RunOutput | ModelError
            try:
                outcome = agent.run("Where?", user_id=f"user-{number}")
            except ModelError as error:
                outcome = error
        return server.requests, outcome


def kinds(requests: list[dict[str, Any]]) -> list[str]:
    return [request.get("response_format", {}).get("type", "-") for request in requests]


def is_told(request: dict[str, Any]) -> bool:
    return "JSON Schema" in json.dumps(request["messages"])


def test_the_form_goes_into_the_servers_own_field() -> None:
    requests, output = ask(lambda request: saying(GOOD))
    assert output.parsed == Place(city="Rome")
    assert requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Place",
            "schema": {
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "type": "object",
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
    assert not is_told(requests[0])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported here.", 400),
        ("This response_format type is unavailable now", 400),
        ("Extra inputs are not permitted: response_format.json_schema", 422),
        ("structured outputs are not implemented for this backend", 501),
        ("response format with a response mime type is not supported for this model", 400),
        (None, 400),
    ],
)
def test_a_server_without_schemas_is_asked_for_an_object_and_in_words(
    words: str | None, status: int
) -> None:
    requests, output = ask(refusing(words, "json_schema", status=status), times=2)
    assert output.parsed == Place(city="Rome")
    assert kinds(requests) == ["json_schema", "json_object", "json_object"]
    assert [is_told(request) for request in requests] == [False, True, True]
    assert [m["role"] for m in requests[1]["messages"]] == ["system", "user"]


def test_a_server_without_the_field_is_asked_in_words_alone() -> None:
    requests, output = ask(
        refusing("Unknown field: response_format", "json_schema", "json_object"), times=2
    )
    assert output.parsed == Place(city="Rome")
    assert kinds(requests) == ["json_schema", "json_object", "-", "-"]
    assert is_told(requests[-1])


@pytest.mark.parametrize(
    "words",
    [
        "Invalid schema for response_format 'Place': In context=(), 'required' is required",
        "Unknown name \"additionalProperties\" at 'generation_config.response_schema'",
        "Failed to generate JSON. Please adjust your prompt. See 'failed_generation'.",
        "JSON schema conversion failed: Unrecognized schema",
        "The provided JSON schema contains features not supported by xgrammar.",
    ],
)
def test_a_fault_of_one_schema_says_nothing_of_the_next(words: str) -> None:
    requests, output = ask(refusing(words, "json_schema"), times=2)
    assert output.parsed == Place(city="Rome")
    assert kinds(requests) == ["json_schema", "json_object"] * 2


def test_a_server_that_takes_no_notice_is_told_in_words_from_then_on() -> None:
    def chatty(request: dict[str, Any]) -> Answer:
        return saying(GOOD if is_told(request) else "It is Rome.")

    requests, output = ask(chatty, times=2)
    assert output.parsed == Place(city="Rome")
    assert [is_told(request) for request in requests] == [False, True, True]
    assert kinds(requests) == ["json_schema"] * 3


def test_llama_cpp_has_a_field_of_its_own() -> None:
    def behave(request: dict[str, Any]) -> Answer:
        return saying(GOOD if "json_schema" in request else f"So be it: {GOOD}")

    requests, output = ask(behave, llama_cpp=True)
    assert output.parsed == Place(city="Rome")
    assert requests[0]["json_schema"]["required"] == ["city"]
    assert "response_format" not in requests[0]
    assert is_told(requests[0])

    def without_grammars(request: dict[str, Any]) -> Answer:
        if "json_schema" in request:
            return Answer(b'{"error": {"message": "Failed to parse grammar"}}', status=400)
        return saying(GOOD)

    requests, output = ask(without_grammars, llama_cpp=True)
    assert output.parsed == Place(city="Rome")
    assert ["json_schema" in request for request in requests] == [True, False]


def test_the_form_of_a_run_takes_the_place_of_an_option() -> None:
    requests, _ = ask(lambda _: saying(GOOD), options={"response_format": {"type": "text"}})
    assert kinds(requests) == ["json_schema"]


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I cannot help with that."},
        {"content": [{"type": "refusal", "refusal": "I cannot help with that."}]},
    ],
)
def test_a_refusal_of_the_model_is_an_error_of_its_own(message: dict[str, Any]) -> None:
    body = json.dumps(completion(None) | {"choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    ]})  # fmt: skip
    requests, error = ask(lambda _: Answer(body.encode()))
    assert isinstance(error, AnswerInvalid)
    assert error.reason == "refused"
    assert "cannot help" not in str(error)
    assert len(requests) == 1


def test_a_streamed_refusal_is_told_from_an_answer() -> None:
    chunks = [{"choices": [{"delta": {"refusal": "No."}, "finish_reason": None}]},
              {"choices": [{"delta": {}, "finish_reason": "stop"}]}]  # fmt: skip
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    with (
        upstream(lambda _: Answer(lines.encode(), content_type="text/event-stream")) as server,
        OpenAIModel("m", base_url=server.base_url) as model,
    ):
        agent = Agent(name="clerk", model=model, output_type=Place)
        with pytest.raises(AnswerInvalid) as raised:
            list(agent.stream("Where?", user_id="alice"))
        assert raised.value.reason == "refused"


def test_streamed_it_is_the_same() -> None:
    with (
        upstream(refusing("response_format is not supported", "json_schema")) as server,
        OpenAIModel("m", base_url=server.base_url) as model,
    ):
        agent = Agent(name="clerk", model=model, output_type=Place)
        *_, last = agent.stream("Where?", user_id="alice")
        assert isinstance(last, Finished)
        assert last.output.parsed == Place(city="Rome")
        assert kinds(server.requests) == ["json_schema", "json_object"]
