"""Answers of a Python type: `output_type` of an agent and of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from tests.fakes import FakeModel, calls, said
from webapp.agent import (
    Agent,
    Approval,
    Finished,
    ModelReply,
    OutputGuardrail,
    PatternGuardrail,
    PersonalDataGuardrail,
    TextDelta,
    Toolkit,
    tool,
)
from webapp.errors import (
    AnswerInvalid,
    ConfigurationError,
    GuardrailRefused,
    LoopLimitExceeded,
    MessageTooLong,
)
from webapp.memory import InMemory
from webapp.messages import Usage

GOOD = '{"number": "A-1", "total": 12.5}'


class Invoice(BaseModel):
    number: str
    total: float

    @field_validator("total")
    @classmethod
    def positive(cls, total: float) -> float:
        if total < 0:
            raise ValueError("a total is never negative")
        return total


@dataclass
class Point:
    x: int
    y: int = 0


class Film(TypedDict):
    title: str


def agent(*answers: Any, **parts: Any) -> tuple[Agent, FakeModel]:
    model = FakeModel.of(*answers)
    return Agent(name="clerk", model=model, **parts), model


def test_the_output_has_the_value_beside_its_text() -> None:
    clerk, _ = agent(GOOD)
    output = clerk.run("Read the invoice", user_id="alice", output_type=Invoice)
    assert output.parsed == Invoice(number="A-1", total=12.5)
    assert output.content == GOOD
    assert [m.content for m in clerk.memory.get_messages(user_id="alice")][1] == GOOD


def test_the_type_of_an_agent_holds_for_each_run_that_names_none() -> None:
    clerk, _ = agent(GOOD, "just text", '{"x": 1}', output_type=Invoice)
    assert clerk.run("a", user_id="alice").parsed == Invoice(number="A-1", total=12.5)
    plain = clerk.run("b", user_id="alice", output_type=str)
    assert (plain.content, plain.parsed) == ("just text", None)
    assert clerk.run("c", user_id="alice", output_type=Point).parsed == Point(1)


@pytest.mark.parametrize(
    ("output_type", "answer", "value"),
    [
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Film, '{"title": "M"}', {"title": "M"}),
        (list[Point], '{"response": [{"x": 1}]}', [Point(1)]),
        (list[Point], '[{"x": 1}]', [Point(1)]),
        (int, '{"response": 7}', 7),
        (int, "7", 7),
        (bool, "true", True),
        (Literal["spam", "ham"], '"ham"', "ham"),
        (Invoice | Point, '{"response": {"x": 3}}', Point(3)),
        ([Invoice, Point], '{"response": {"x": 3}}', Point(3)),
        (Invoice | None, '{"response": null}', None),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Annotated[int, Field(ge=1), ["not hashable"]], "3", 3),
        ({"type": "object", "required": ["a"]}, '{"a": [1]}', {"a": [1]}),
    ],
)
def test_any_type_of_pydantic_and_a_schema(output_type: Any, answer: str, value: Any) -> None:
    clerk, _ = agent(answer)
    assert clerk.run("go", user_id="alice", output_type=output_type).parsed == value


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Here it is:\n\n```JSON\n{GOOD}\n```\nAnything else?",
        f"Sure! {GOOD} I hope this helps.",
        f"{GOOD}\n{GOOD}",
        f"For [one] user {{as asked}}: {GOOD}",
        f'```json\n{GOOD}\n```\nAn empty one would be {{"number": "", "total": 0}}.',
    ],
)
def test_json_in_a_fence_and_with_text_around_it(answer: str) -> None:
    clerk, model = agent(answer)
    output = clerk.run("go", user_id="alice", output_type=Invoice)
    assert output.content == GOOD
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot read it.",
        '{"number": "A-1"}',
        '{"number": "A-1", "total": NaN}',
        '{"number": "A-1", "total": 1e999}',
        '{"number": "\\ud800", "total": 1}',
        '{"number": "A-1", "total": 1',
        f'[{GOOD}, {{"number"',
        f'{GOOD} or {{"number": "A-2", "total": 1}}',
        '{"a":' * 200 + "1" + "}" * 200,
        "[" * 100_000,
        "9" * 10_000,
    ],
)
def test_any_other_answer_is_sent_back(answer: str) -> None:
    clerk, model = agent(answer, GOOD)
    output = clerk.run("go", user_id="alice", output_type=Invoice)
    assert output.parsed == Invoice(number="A-1", total=12.5)
    assert len(model.requests) == 2


def test_what_is_wrong_is_told_and_no_part_of_the_memory() -> None:
    clerk, model = agent(
        said('{"number": "A-1", "total": -1}', 5, 2), said('{"number": 1}', 6, 3), said(GOOD, 7, 4)
    )
    output = clerk.run("go", user_id="alice", output_type=Invoice)
    first, second = model.seen[1], model.seen[2]
    assert [m.role for m in first] == ["user", "assistant", "user"]
    assert "total: Value error, a total is never negative" in first[2].content
    assert "number: Input should be a valid string" in second[2].content
    assert "total: Field required" in second[2].content
    assert [m.role for m in second] == ["user", "assistant", "user"]
    assert [m.content for m in output.messages] == ["go", GOOD]
    assert [m.content for m in clerk.memory.get_messages(user_id="alice")] == ["go", GOOD]
    assert output.usage == Usage(18, 9)
    assert output.model_calls == 3


def test_after_a_few_tries_it_is_an_error_and_nothing_is_stored() -> None:
    clerk, model = agent("one", "two", "three", GOOD)
    with pytest.raises(AnswerInvalid) as raised:
        clerk.run("go", user_id="alice", output_type=Invoice)
    error = raised.value
    assert (error.code, error.status, error.reason) == ("invalid_answer", 502, "invalid")
    assert (error.answer, error.fault) == ("three", "It is not JSON.")
    assert "three" not in str(error)
    assert len(model.requests) == 3
    assert clerk.memory.get_messages(user_id="alice") == []


def test_the_tries_are_calls_of_the_turn() -> None:
    clerk, model = agent("one", "two", max_loops=2)
    with pytest.raises(AnswerInvalid):
        clerk.run("go", user_id="alice", output_type=Invoice)
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ModelReply('{"number": "A-1", "tot', finish_reason="length"), "cut_off"),
        (ModelReply('{"number": "A', finish_reason="content_filter"), "filtered"),
        (ModelReply("I will not.", refused=True), "refused"),
    ],
)
def test_what_another_try_would_not_better(reply: ModelReply, reason: str) -> None:
    clerk, model = agent(reply)
    with pytest.raises(AnswerInvalid) as raised:
        clerk.run("go", user_id="alice", output_type=Invoice)
    assert raised.value.reason == reason
    assert len(model.requests) == 1
    assert clerk.memory.get_messages(user_id="alice") == []


def test_an_answer_that_is_complete_counts_although_what_came_after_was_cut_off() -> None:
    clerk, _ = agent(ModelReply(GOOD + "\n\n\n", finish_reason="length"))
    assert clerk.run("go", user_id="alice", output_type=Invoice).content == GOOD


def test_tools_work_along_with_it() -> None:
    def total() -> float:
        """Tell the total."""
        return 12.5

    clerk, model = agent(
        calls(("total", {}), content="Let me look."),
        "bad",
        calls(("total", {})),
        GOOD,
        toolkits=[Toolkit("shop", [total])],
    )
    output = clerk.run("go", user_id="alice", output_type=Invoice)
    assert output.parsed.total == 12.5
    assert [m.role for m in output.messages] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert [m.role for m in model.seen[2]] == ["user", "assistant", "tool", "assistant", "user"]


def test_a_turn_that_waits_for_approval_has_its_answer_when_it_goes_on() -> None:
    @tool(requires_approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    clerk, _ = agent(calls(("pay", {})), "bad", GOOD, toolkits=[Toolkit("bank", [pay])])
    paused = clerk.run("go", user_id="alice", output_type=Invoice)
    assert (paused.status, paused.parsed) == ("paused", None)
    decided = [Approval(call.id, approved=True) for call in paused.pending_calls]
    output = clerk.run(user_id="alice", approvals=decided, output_type=Invoice)
    assert output.parsed == Invoice(number="A-1", total=12.5)
    assert [m.content for m in clerk.memory.get_messages(user_id="alice")][-1] == GOOD


def test_a_loop_of_tools_ends_as_without_it() -> None:
    clerk, _ = agent(calls(("a", {})), calls(("a", {})), max_loops=2)
    with pytest.raises(LoopLimitExceeded):
        clerk.run("go", user_id="alice", output_type=Invoice)


def test_guardrails_look_at_the_answer() -> None:
    class NoTotals:
        name = "no-totals"

        def check_output(self, text: str) -> str | None:
            return "No totals." if "total" in text else None

    guard: OutputGuardrail = NoTotals()
    clerk, _ = agent(GOOD, guardrails=[guard])
    with pytest.raises(GuardrailRefused, match="No totals"):
        clerk.run("go", user_id="alice", output_type=Invoice)


def test_guardrails_look_at_letters_that_stand_as_escapes() -> None:
    hidden = '{"number": "joe\\u0040example.com", "total": 1.0}'
    clerk, _ = agent(hidden, guardrails=[PersonalDataGuardrail("email", on="output")])
    output = clerk.run("go", user_id="alice", output_type=Invoice)
    assert output.parsed == Invoice(number="[EMAIL]", total=1.0)
    assert "[EMAIL]" in output.content
    clerk, _ = agent(hidden, guardrails=[PatternGuardrail(r".*@.*", mask=True, on="output")])
    with pytest.raises(AnswerInvalid, match="what a guardrail has changed"):
        clerk.run("go", user_id="alice", output_type=Invoice)


def test_a_stream_has_the_text_of_the_good_answer_alone() -> None:
    clerk, _ = agent("one moment", GOOD)
    events = list(clerk.stream("go", user_id="alice", output_type=Invoice))
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(pieces) > 1
    assert "".join(pieces) == GOOD
    assert isinstance(events[-1], Finished)
    assert events[-1].output.parsed == Invoice(number="A-1", total=12.5)


def test_a_stream_of_a_fenced_answer_has_its_json() -> None:
    clerk, _ = agent(f"```json\n{GOOD}\n```")
    events = list(clerk.stream("go", user_id="alice", output_type=Invoice))
    assert [event.text for event in events if isinstance(event, TextDelta)] == [GOOD]


def test_the_number_of_messages_sent_stays_bounded() -> None:
    clerk, model = agent(
        "hello",
        "hi",
        "bad",
        GOOD,
        memory=InMemory(),
        context_max_messages=4,
        instructions="Be brief.",
    )
    clerk.run("one", user_id="alice")
    clerk.run("two", user_id="alice")
    clerk.run("go", user_id="alice", output_type=Invoice)
    assert [len(messages) for messages in model.seen] == [2, 4, 4, 4]
    assert [m.content[:3] for m in model.seen[3]] == ["Be ", "go", "bad", "You"]


def test_a_window_of_one_message_has_no_room_for_what_was_wrong() -> None:
    clerk, model = agent("bad", GOOD, context_max_messages=1)
    clerk.run("go", user_id="alice", output_type=Invoice)
    assert [len(messages) for messages in model.seen] == [1, 1]


def test_the_form_counts_in_a_budget_of_tokens() -> None:
    clerk, model = agent("x " * 200, "bad", GOOD, GOOD, context_max_tokens=300)
    clerk.run("one", user_id="alice")
    clerk.run("go", user_id="alice", output_type=Invoice)
    assert [m.content[:3] for m in model.seen[1]] == ["go\n"]
    assert [m.content[:3] for m in model.seen[2]] == ["go", "bad", "You"]
    large = {"type": "object", "description": "words " * 200}
    with pytest.raises(MessageTooLong, match="form of the answer"):
        clerk.run("go", user_id="alice", output_type=large)


def test_a_model_of_ones_own_is_told_in_its_messages() -> None:
    clerk, model = agent(GOOD, instructions="Be brief.")
    clerk.run("go", user_id="alice", output_type=Invoice)
    instructions, question = model.seen[0]
    assert '"number":{"type":"string"}' in instructions.content
    assert question.content == "go"
    wish = model.requests[0].response_format
    assert wish is not None
    assert (wish.name, wish.strict) == ("Invoice", True)


class _NoType:
    pass


@pytest.mark.parametrize(
    "output_type",
    [
        _NoType,
        _NoType(),
        object(),
        5,
        "Invoice",
        [],
        print,
        {"type": "objekt"},
        {"$ref": "http://x"},
    ],
)
def test_what_is_no_type_is_said_at_once(output_type: Any) -> None:
    with pytest.raises(ConfigurationError, match="output_type"):
        agent(GOOD, output_type=output_type)
    clerk, model = agent(GOOD)
    with pytest.raises(ConfigurationError, match="output_type"):
        clerk.run("go", user_id="alice", output_type=output_type)
    assert model.requests == []
