"""Tests of what somebody is told who uses an agent as agents elsewhere are used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from inspect import signature
from typing import Any

import pytest

from tests.fakes import count_model, echo_model
from tests.upstream import saying, upstream
from webapp.agent import Agent, OpenAIModel, RunOutput, Toolkit
from webapp.agent.other_libraries import ARGUMENTS, METHODS, OUTPUTS, PARTS
from webapp.agent.toolkits import calculator
from webapp.errors import ConfigurationError
from webapp.memory import InMemory

PASS_IT_TO_RUN = "pass user_id= to run"

make_agent: Any = Agent  # no type checker must see what is wrong


@pytest.fixture
def agent() -> Any:
    return Agent(name="assistant", model=echo_model())


@pytest.mark.parametrize("name", ["user_id", "user", "session_id"])
def test_an_agent_is_given_no_user(agent: Any, name: str) -> None:
    with pytest.raises(FrozenInstanceError, match=PASS_IT_TO_RUN):
        setattr(agent, name, "alice")
    with pytest.raises(AttributeError, match=PASS_IT_TO_RUN):
        getattr(agent, name)
    with pytest.raises(AttributeError, match=PASS_IT_TO_RUN):
        delattr(agent, name)
    with pytest.raises(TypeError, match=PASS_IT_TO_RUN):
        make_agent(name="assistant", model=echo_model(), **{name: "alice"})
    with pytest.raises(TypeError, match=PASS_IT_TO_RUN):
        replace(agent, **{name: "alice"})


@pytest.mark.parametrize("name", ["memory", "model", "instructions", "toolkits", "max_loops"])
def test_a_part_is_changed_by_making_another_agent(agent: Any, name: str) -> None:
    with pytest.raises(FrozenInstanceError, match=rf"replace\(agent, {name}=…\)"):
        setattr(agent, name, None)


def test_an_agent_takes_no_other_attribute(agent: Any) -> None:
    with pytest.raises(FrozenInstanceError, match="no attribute 'temperature'"):
        agent.temperature = 1
    with pytest.raises(AttributeError, match="'Agent' object has no attribute 'temperature'"):
        _ = agent.temperature
    assert not hasattr(agent, "temperature")


def test_parts_are_given_by_name_and_tools_in_a_toolkit() -> None:
    with pytest.raises(TypeError, match="given by name"):
        make_agent("assistant", echo_model())
    with pytest.raises(TypeError, match="toolkits="):
        make_agent(name="assistant", model=echo_model(), tools=[print])
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        make_agent(name="assistant", model=echo_model(), colour="red")


@pytest.mark.parametrize(
    ("use", "kind", "sentence"),
    [
        (lambda _: make_agent(name="a", response_model=int), TypeError, "output_type="),
        (lambda _: make_agent(name="a", system_prompt="x"), TypeError, "instructions="),
        (lambda _: make_agent(name="a", deps_type=int), TypeError, "RunContext"),
        (lambda agent: agent.run("x", user_id="a", response_format=int), TypeError, "output_type="),
        (lambda agent: agent.stream("x", user_id="a", thread_id="1"), TypeError, "session_id="),
        (lambda agent: agent.run_sync("x"), AttributeError, r"agent\.run\("),
        (lambda agent: agent.ainvoke("x"), AttributeError, r"await agent\.arun\("),
        (lambda agent: agent.run_stream("x"), AttributeError, r"agent\.stream\("),
        (lambda agent: agent.tool(print), AttributeError, "toolkits="),
        (lambda agent: agent.run("x", user_id="a").final_output, AttributeError, r"output\.parsed"),
        (lambda agent: agent.run("x", user_id="a").text, AttributeError, r"output\.content"),
        (lambda agent: agent.run("x", user_id="a").colour, AttributeError, "attribute 'colour'$"),
    ],
)
def test_the_names_of_other_libraries_are_answered_with_ours(
    agent: Any, use: Callable[[Any], object], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        use(agent)


def test_no_name_of_another_library_is_one_of_ours() -> None:
    parts = {each.name for each in fields(Agent)}
    arguments = set(signature(Agent.run).parameters)
    assert not parts & PARTS.keys()
    assert not arguments & ARGUMENTS.keys()
    assert not set(dir(Agent)) & METHODS.keys()
    assert not set(dir(RunOutput)) & OUTPUTS.keys()


@pytest.mark.parametrize(
    "call",
    [
        lambda agent: agent.run("hello"),
        lambda agent: agent.run("hello", "alice"),
        lambda agent: agent.run("hello", user="alice"),
        lambda agent: agent.run(input="hello"),
        lambda agent: agent.stream("hello"),
        lambda agent: agent.stream("hello", "alice"),
    ],
)
def test_a_run_without_its_user_is_told_how_to_name_it(
    agent: Any, call: Callable[[Any], object]
) -> None:
    with pytest.raises(TypeError, match=r'pass user_id= to .*user_id="alice"\)'):
        call(agent)


def test_run_keeps_its_name_and_its_signature_and_takes_its_input_by_name(agent: Any) -> None:
    assert agent.run.__name__ == "run"
    assert "One turn of a user" in agent.run.__doc__
    assert agent.run(input="hello", user_id="alice").content == "You said: hello"


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"memory": None}, "memory has no add and get_messages"),
        ({"memory": "chats.db"}, "memory has no add and get_messages"),
        ({"memory": InMemory}, r"memory is a class: pass memory=InMemory\(…\)"),
        ({"turns": None}, "turns has no place"),
        ({"toolkits": calculator()}, r"toolkits=\[…\]"),
        ({"toolkits": None}, r"toolkits=\[…\]"),
        ({"guardrails": None}, r"guardrails=\[…\]"),
        ({"guardrails": "polite"}, r"guardrails=\[…\]"),
        ({"instructions": None}, "instructions must be text"),
        ({"instructions": ["Be kind."]}, "instructions must be text"),
        ({"name": None}, "needs a name"),
        ({"max_loops": "10"}, "max_loops must be a whole number"),
        ({"max_loops": True}, "max_loops must be a whole number"),
        ({"context_max_messages": 1.5}, "context_max_messages must be a whole number"),
    ],
)
def test_a_part_of_the_wrong_kind_is_one_sentence(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Agent(**{"name": "assistant", "model": count_model(), **parts})


def test_parts_may_come_from_a_generator() -> None:
    toolkits: Any = (Toolkit(name, [function]) for name, function in [("own", print_nothing)])
    agent = Agent(name="assistant", model=count_model(), toolkits=toolkits)
    assert [toolkit.name for toolkit in agent.toolkits] == ["own"]


def print_nothing() -> str:
    return ""


def test_the_name_of_a_model_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream(lambda _: saying("hello")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        agent = Agent(name="assistant", model="gpt-4o")
        assert isinstance(agent.model, OpenAIModel)
        assert agent.model.name == "gpt-4o"
        assert agent.run("hi", user_id="alice").content == "hello"
        assert replace(agent, instructions="Be kind.").model is agent.model
        agent.model.close()
    assert server.requests[0]["model"] == "gpt-4o"


def test_a_run_that_should_stream_is_told_of_stream(agent: Any) -> None:
    with pytest.raises(TypeError, match=r"for pieces: agent\.stream\("):
        agent.run("hello", user_id="alice", stream=True)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"api_key": "sk-\u00e4"}, r"api_key \(OPENAI_API_KEY\) must consist of ASCII"),
        ({"api_key": "sk-1\n"}, r"api_key \(OPENAI_API_KEY\) must consist of ASCII"),
        ({"base_url": "localhost:8000"}, r"base_url \(OPENAI_BASE_URL\) must be a URL such as"),
        ({"base_url": "ftp://host/v1"}, r"base_url \(OPENAI_BASE_URL\) must be a URL such as"),
        ({"base_url": "/v1"}, r"base_url \(OPENAI_BASE_URL\) must be a URL such as"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence_at_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        OpenAIModel("m", **given)
    assert "sk-1" not in str(refused.value)
    name, value = next(iter(given.items()))
    monkeypatch.setenv(f"OPENAI_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=sentence):
        OpenAIModel("m")


@pytest.mark.parametrize("key", ["", None])
def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    for make in (lambda: Agent(name="assistant", model="gpt-4o"), lambda: OpenAIModel("gpt-4o")):
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
            make()


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with upstream(lambda _: saying("hello")) as server:
        named = OpenAIModel("local", base_url=server.base_url)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for model in (named, OpenAIModel("local")):
            assert Agent(name="a", model=model).run("hi", user_id="alice").content == "hello"
            model.close()


def test_a_name_costs_the_import_of_openai_only_where_one_is_given() -> None:
    program = (
        "import sys\n"
        "from webapp.agent import Agent, ModelReply\n"
        "class Own:\n"
        "    name = 'own'\n"
        "    def complete(self, request): return ModelReply('hello')\n"
        "Agent(name='assistant', model=Own()).run('hi', user_id='alice')\n"
        "assert 'openai' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
