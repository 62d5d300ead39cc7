"""Tests of what may refuse a question or an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.fakes import FakeModel, calls
from webapp.agent import (
    Agent,
    Event,
    Guardrail,
    Replace,
    RunContext,
    TextDelta,
    Toolkit,
    input_guardrail,
    output_guardrail,
    tool_guardrail,
)
from webapp.agent.executor import MAX_LEFT_RUNNING
from webapp.errors import ConfigurationError, GuardrailFailed, GuardrailRefused, ModelTimeout


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


# -- changing a text -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Masked:
    word: str
    name: str = "masked"

    def check_input(self, text: str) -> Replace | None:
        return Replace(text.replace(self.word, "***")) if self.word in text else None

    check_output = check_input
    check_tool_result = check_input


def test_a_changed_question_is_what_the_model_sees_and_what_is_stored() -> None:
    model = FakeModel.of("noted")
    agent = Agent(name="assistant", model=model, guardrails=[Masked("secret")])
    output = agent.run("the secret is 5", user_id="alice")
    assert model.seen[0][-1].content == "the *** is 5"
    stored = [message.content for message in agent.memory.get_messages(user_id="alice")]
    assert stored == ["the *** is 5", "noted"]
    assert [message.content for message in output.messages] == stored


def test_a_changed_answer_is_what_is_told_streamed_and_stored() -> None:
    model = FakeModel.of("a secret word", "a secret word")
    agent = Agent(name="assistant", model=model, guardrails=[Masked("secret")])
    assert agent.run("hello", user_id="alice").content == "a *** word"
    events = list(agent.stream("hello", user_id="bob"))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "a *** word"
    for user_id in ("alice", "bob"):
        assert agent.memory.get_messages(user_id=user_id)[-1].content == "a *** word"


def test_each_check_sees_what_those_before_it_made_of_the_text() -> None:
    guards: list[Guardrail]
    guards = [Masked("secret"), NoQuestionAbout("secret"), NoQuestionAbout("***", name="stars")]
    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=guards)
    with pytest.raises(GuardrailRefused) as refusal:
        agent.run("a secret", user_id="alice")
    assert refusal.value.guardrail == "stars"


def test_a_question_of_which_nothing_is_left_is_refused() -> None:
    @input_guardrail
    def empties(_text: str) -> Replace:
        return Replace(" ")

    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=[empties])
    with pytest.raises(GuardrailRefused, match="Nothing is left"):
        agent.run("hello", user_id="alice")


def test_what_a_tool_gave_is_changed_or_withheld_before_the_model_sees_it() -> None:
    def look(place: str) -> str:
        """Look there."""
        return f"a secret in {place}"

    @tool_guardrail
    def no_cellars(text: str, context: RunContext) -> str | None:
        return f"Withheld from {context.user_id}." if "cellar" in text else None

    model = FakeModel.of(
        calls(("look", {"place": "attic"}), ("look", {"place": "cellar"})), "It is there."
    )
    agent = Agent(
        name="assistant",
        model=model,
        toolkits=[Toolkit("looks", [look])],
        guardrails=[Masked("secret"), no_cellars],
    )
    assert agent.run("Where is it?", user_id="alice").content == "It is there."
    told = [message.content for message in model.seen[1] if message.role == "tool"]
    assert told == ["a *** in attic", "Error: Withheld from alice."]
    stored = agent.memory.get_messages(user_id="alice")
    assert [message.content for message in stored if message.role == "tool"] == told


# -- checks that do not do what they should --------------------------------------------------------


def raises(_text: str) -> None:
    raise ValueError("the user's words")


def exits(_text: str) -> None:
    raise SystemExit(3)


def gives_a_number(_text: str) -> int:
    return 0


def gives_true(_text: str) -> bool:
    return True


def replaces_by_none(_text: str) -> Replace:
    return Replace(None)  # type: ignore[arg-type]  # what is wrong here


@pytest.mark.parametrize("check", [raises, exits, gives_a_number, gives_true, replaces_by_none])
@pytest.mark.parametrize("make", [input_guardrail, output_guardrail])
@pytest.mark.parametrize("seconds", [None, 30.0])
def test_a_check_that_fails_lets_nothing_pass(
    check: Callable[[str], object],
    make: Callable[..., Guardrail],
    seconds: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent(
        name="assistant",
        model=FakeModel.of("hi"),
        guardrails=[make(check)],
        turn_timeout=seconds,
    )
    with pytest.raises(GuardrailFailed) as failure:
        agent.run("hello", user_id="alice")
    assert (failure.value.guardrail, failure.value.status) == (check.__name__, 500)
    assert agent.memory.size(user_id="alice") == 0
    assert f"guardrail failed: {check.__name__}" in caplog.text
    assert "words" not in caplog.text


def test_a_check_may_raise_its_refusal() -> None:
    @input_guardrail
    def no(_text: str) -> None:
        raise GuardrailRefused("Not today.")

    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=[no])
    with pytest.raises(GuardrailRefused, match="Not today") as refusal:
        agent.run("hello", user_id="alice")
    assert refusal.value.guardrail == "no"


def test_a_check_that_does_not_come_back_is_bounded_by_the_turn() -> None:
    never = threading.Event()
    hanging = input_guardrail(lambda _text: never.wait())
    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=[hanging], turn_timeout=0.05)
    with pytest.raises(ModelTimeout) as timeout:
        agent.run("hello", user_id="alice")
    assert not timeout.value.server_failed
    cancel = threading.Event()
    waiting = replace(agent, turn_timeout=600)
    cancel.set()
    assert waiting.run("hello", user_id="alice", cancel=cancel).status == "cancelled"
    started = threading.Event()

    @output_guardrail
    def slow(_text: str) -> None:
        started.set()
        never.wait()

    answering = replace(waiting, model=FakeModel.of("hi"), guardrails=[slow])
    cancel = threading.Event()
    outputs: list[str] = []
    runner = threading.Thread(
        target=lambda: outputs.append(answering.run("x", user_id="bob", cancel=cancel).status)
    )
    runner.start()
    assert started.wait(20)
    cancel.set()
    runner.join(20)
    assert outputs == ["cancelled"]
    assert agent.memory.size(user_id="bob") == 0
    never.set()


@pytest.mark.parametrize("name", ["two\nlines", "x" * 101, 5])
def test_a_name_is_one_short_line(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"one line of at most 100|has no name"):
        Agent(
            name="assistant",
            model=FakeModel.of(),
            guardrails=[NoAnswerWith("x", name=name)],  # type: ignore[arg-type]  # as above
        )


# -- asynchronous checks ---------------------------------------------------------------------------


@input_guardrail
async def no_async_secrets(text: str, context: RunContext) -> str | Replace | None:
    await asyncio.sleep(0)
    if "secret" in text:
        return f"No secrets, {context.user_id}."
    return Replace(text.upper()) if "loud" in text else None


@pytest.mark.parametrize("seconds", [None, 30.0])
def test_a_check_may_be_asynchronous(seconds: float | None) -> None:
    model = FakeModel.of("fine", "fine")
    agent = Agent(
        name="assistant", model=model, guardrails=[no_async_secrets], turn_timeout=seconds
    )
    assert agent.run("hello", user_id="alice").content == "fine"
    agent.run("loud", user_id="alice")
    assert model.seen[1][-1].content == "LOUD"
    with pytest.raises(GuardrailRefused, match="No secrets, alice"):
        agent.run("secret", user_id="alice")


def test_an_asynchronous_check_that_does_not_come_back_is_cancelled() -> None:
    ended = threading.Event()

    @input_guardrail
    async def never(_text: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=[never], turn_timeout=0.05)
    with pytest.raises(ModelTimeout):
        agent.run("hello", user_id="alice")
    assert ended.wait(20)


def test_a_check_of_which_too_many_calls_hang_is_not_called_again() -> None:
    never = threading.Event()
    called: list[str] = []

    @input_guardrail
    def hanging(text: str) -> None:
        called.append(text)
        never.wait()

    agent = Agent(name="assistant", model=FakeModel.of(), guardrails=[hanging], turn_timeout=0.001)
    for _ in range(MAX_LEFT_RUNNING):
        with pytest.raises(ModelTimeout):
            agent.run("hello", user_id="alice")
    with pytest.raises(GuardrailFailed):
        agent.run("hello", user_id="alice")
    assert len(called) == MAX_LEFT_RUNNING
    never.set()
