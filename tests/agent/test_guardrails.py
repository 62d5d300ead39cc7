"""Tests of what may refuse a question or an answer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.fakes import FakeModel, calls
from webapp.agent import Agent, Event, TextDelta
from webapp.errors import ConfigurationError, GuardrailRefused


@dataclass(frozen=True)
class NoQuestionAbout:
    word: str
    name: str = "no-question"

    def check_input(self, text: str) -> str | None:
        return "That is not talked about here." if self.word in text else None


@dataclass(frozen=True)
class NoAnswerWith:
    word: str
    name: str = "no-answer"

    def check_output(self, text: str) -> str | None:
        return "The answer was withheld." if self.word in text else None


@dataclass(frozen=True)
class Hook:
    name: str = "hook"

    def before(self, text: str) -> None: ...


def test_a_refused_question_does_not_reach_the_model_and_is_not_stored() -> None:
    model = FakeModel.of("fine")
    agent = Agent(name="assistant", model=model, guardrails=[NoQuestionAbout("secret")])
    with pytest.raises(GuardrailRefused, match="not talked about") as refusal:
        agent.run("tell me the secret", user_id="alice")
    assert refusal.value.guardrail == "no-question"
    assert model.requests == []
    assert agent.memory.size(user_id="alice") == 0
    assert agent.run("hello", user_id="alice").content == "fine"


def test_a_refused_answer_is_not_stored() -> None:
    agent = Agent(
        name="assistant", model=FakeModel.of("the secret"), guardrails=[NoAnswerWith("secret")]
    )
    with pytest.raises(GuardrailRefused, match="withheld") as refusal:
        agent.run("hello", user_id="alice")
    assert refusal.value.guardrail == "no-answer"
    assert agent.memory.size(user_id="alice") == 0


def test_no_piece_of_a_refused_answer_is_streamed() -> None:
    agent = Agent(
        name="assistant",
        model=FakeModel.of("this is the secret"),
        guardrails=[NoAnswerWith("secret")],
    )
    seen: list[Event] = []
    with pytest.raises(GuardrailRefused):
        seen.extend(agent.stream("hello", user_id="alice"))
    assert not any(isinstance(event, TextDelta) for event in seen)
    assert agent.memory.size(user_id="alice") == 0


def test_an_answer_that_passes_comes_in_its_pieces() -> None:
    agent = Agent(
        name="assistant", model=FakeModel.of("all is well"), guardrails=[NoAnswerWith("secret")]
    )
    events = agent.stream("hello", user_id="alice")
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["all ", "is ", "well"]


def test_text_beside_a_tool_call_is_looked_at_too() -> None:
    model = FakeModel.of(calls(("nothing", {}), content="the secret is"), "done")
    agent = Agent(name="assistant", model=model, guardrails=[NoAnswerWith("secret")])
    with pytest.raises(GuardrailRefused):
        agent.run("hello", user_id="alice")


@pytest.mark.parametrize("hook", [Hook(), "secret", print, None, NoAnswerWith])
def test_an_unknown_kind_of_hook_is_refused_at_construction(hook: object) -> None:
    with pytest.raises(ConfigurationError, match="is not a guardrail"):
        Agent(name="assistant", model=FakeModel.of(), guardrails=[hook])  # type: ignore[list-item]


def test_guardrails_need_names_of_their_own() -> None:
    with pytest.raises(ConfigurationError, match="has no name"):
        Agent(name="assistant", model=FakeModel.of(), guardrails=[NoAnswerWith("x", name=" ")])
    with pytest.raises(ConfigurationError, match="Two guardrails"):
        Agent(name="assistant", model=FakeModel.of(), guardrails=[NoAnswerWith("x")] * 2)
