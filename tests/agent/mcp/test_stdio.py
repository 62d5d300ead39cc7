"""Tools of a server that is a process, on good days and on bad ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel, calls, until
from webapp.agent import Agent, MCPToolkit, RunContext, Toolkit
from webapp.agent.mcp import bounds, processes
from webapp.agent.tools import Tool, ToolResult
from webapp.errors import ConfigurationError

ROUGH = str(Path(__file__).with_name("rough_server.py"))
Make = Callable[..., MCPToolkit]


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes toolkits of the rough server, which are closed in the end."""
    monkeypatch.setattr(processes, "LEAVE_SECONDS", 0.2)
    made: list[MCPToolkit] = []

    def make(*how: str, **use: Any) -> MCPToolkit:
        kit = MCPToolkit.stdio(sys.executable, [ROUGH, *how], **{"name": "rough", **use})
        made.append(kit)
        return kit

    yield make
    for kit in made:
        kit.begin_to_close()
    for kit in made:
        kit.close()


def found(kit: MCPToolkit) -> dict[str, Tool[..., Any]]:
    return {tool.name: tool for tool in kit.tools}


def run(kit: MCPToolkit, name: str, **arguments: Any) -> ToolResult:
    return found(kit)[name].run(json.dumps(arguments))


def runs(pid: int) -> bool:
    """Whether a process is there and no mere entry in a list."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_the_tools_of_a_server_as_it_is_published() -> None:
    with MCPToolkit.stdio(sys.executable, ["-m", "mcp_server_time"], name="time") as kit:
        tools = found(kit)
        assert list(tools) == ["get_current_time", "convert_time"]
        spec = tools["get_current_time"].spec
        assert spec.description
        assert spec.parameters["required"] == ["timezone"]
        result = tools["get_current_time"].run('{"timezone": "Europe/Zurich"}')
        assert result.ok
        assert json.loads(result.content)["timezone"] == "Europe/Zurich"
        refused = tools["get_current_time"].run('{"timezone": "Mars/Olympus"}')
        assert not refused.ok
        assert refused.content.startswith("Error: ")


def test_an_agent_runs_them_in_a_turn_and_closes_them(rough: Make) -> None:
    kit = rough()
    model = FakeModel.of(calls(("echo", {"word": "hello"}), ("sleep", {}), ("sleep", {})), "done")
    with Agent(name="a", model=model, toolkits=[kit]) as agent:
        output = agent.run("Say hello", user_id="u")
        pid = int(run(kit, "pid").content)
    assert [message.content for message in output.messages if message.role == "tool"] == [
        *("hello", "sleep is done", "sleep is done")
    ]
    assert "echo" in [tool.name for tool in model.requests[0].tools]
    assert kit.standing.state == "idle"
    until(lambda: not runs(pid))


def test_arguments_are_checked_as_far_as_the_schema_says(rough: Make) -> None:
    tool = found(rough())["echo"]
    for written, sentence in {
        "{": "Error: The arguments of echo are not valid JSON.",
        "[]": "Error: The arguments of echo must be a JSON object.",
        "": "Error: The argument 'word' of echo is missing.",
        '{"word": 3}': "Error: The argument 'word' of echo is wrong: 3 is not of type 'string'.",
    }.items():
        assert tool.run(written).content == sentence


def test_what_is_no_text_is_told_in_words(rough: Make) -> None:
    kit = rough()
    assert run(kit, "picture").content.splitlines() == [
        "[image, image/png, 23 KiB: not shown]",
        "[resource: a, file:///a.txt]",
        "bee",
    ]
    assert run(kit, "both").content == 'three found\n{"found": 3}'
    assert run(kit, "fail").content == "Error: It is closed on Sundays."
    assert run(kit, "broken").content == "Error: broken gave what is not a result of MCP."
    assert run(kit, "chatter").content == "chatter is done"


def test_a_result_that_is_too_long_is_cut_or_refused_and_the_connection_lives(rough: Make) -> None:
    kit = rough()
    pid = run(kit, "pid").content
    assert "[cut: the result has 1,000,000 characters" in run(kit, "huge").content
    assert run(kit, "larger").content == "Error: larger failed: The answer is longer than 8 MiB."
    assert run(kit, "pid").content == pid


def test_the_process_is_given_no_secret_of_ours(
    rough: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "SWITCHBOARD_SECRET_KEY", "DATABASE_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    names = json.loads(run(rough(env={"TOKEN": "t"}), "environment").content)
    assert "PATH" in names
    assert "TOKEN" in names
    assert not [name for name in names if "SECRET" in name or "OPENAI" in name or "PASSW" in name]


def test_the_user_is_told_only_when_that_is_wanted(rough: Make) -> None:
    context = RunContext(user_id="alice", session_id="s", run_id="run-1")
    assert (
        json.loads(found(rough())["meta"].run("", context).content)
        .keys()
        .isdisjoint({"switchboard/user_id"})
    )
    meta = json.loads(found(rough(send_user=True))["meta"].run("", context).content)
    assert (meta["switchboard/user_id"], meta["switchboard/run_id"]) == ("alice", "run-1")


def test_some_tools_wait_for_a_person(rough: Make) -> None:
    tools = found(rough(requires_approval=["die"]))
    assert [name for name, tool in tools.items() if tool.requires_approval] == ["die"]


def test_a_server_that_dies_in_a_call_is_started_again(rough: Make) -> None:
    kit = rough()
    before = run(kit, "pid").content
    died = run(kit, "die")
    assert not died.ok
    assert "ended the connection during the call" in died.content
    assert "pid" in found(kit)
    assert run(kit, "pid").content not in ("", before)
    assert kit.standing.last_fault == "ended during a call"


def test_a_call_that_hangs_ends_in_time_and_a_server_that_hangs_is_replaced(
    rough: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PROBE_SECONDS", 0.2)
    kit = rough(timeout=0.3)
    before = run(kit, "pid").content
    assert run(kit, "hang").content == "Error: hang did not answer in time."
    until(lambda: kit.standing.last_fault == "does not answer any more")
    until(lambda: kit.standing.state == "connected")
    assert run(kit, "pid").content not in ("", before)


def test_a_call_ends_soon_after_its_run_is_called_off(rough: Make) -> None:
    kit, cancel = rough(), threading.Event()
    context = RunContext(user_id="u", cancel=cancel)
    tool = found(kit)["hang"]
    threading.Timer(0.1, cancel.set).start()
    began = time.monotonic()
    assert not tool.run("", context).ok
    assert time.monotonic() - began < bounds.CONNECT_SECONDS / 2


def test_tools_that_come_and_go_are_listed_again(rough: Make) -> None:
    kit = rough()
    run(kit, "change")
    until(lambda: "fresh" in found(kit))
    fresh = found(kit)["fresh"]
    assert fresh.run("").content == "fresh is done"
    run(kit, "change")
    until(lambda: "fresh" not in found(kit))
    assert fresh.run("").content == "Error: The MCP server rough has no tool 'fresh' any more."


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("rubbish", "writes to its standard output what is no message"),
        ("silent", "does not answer in time"),
    ],
)
def test_turns_go_on_without_a_server_that_cannot_be_used(
    how: str, fault: str, rough: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CONNECT_SECONDS", 1.0)
    kit = rough(how)
    model = FakeModel.of("I have no tools.")
    agent = Agent(name="a", model=model, toolkits=[kit])
    assert agent.run("hello", user_id="u").content == "I have no tools."
    assert model.requests[0].tools == ()
    assert (kit.standing.state, kit.standing.fault) == ("away", fault)
    assert "good morning" in kit.last_words


def test_a_program_that_is_not_there() -> None:
    with MCPToolkit.stdio("no-such-program-here") as kit:
        assert kit.tools == ()
        assert kit.standing.fault == "cannot be started: there is no no-such-program-here"


def test_a_list_that_lies_costs_its_lies_alone(rough: Make, tmp_path: Path) -> None:
    some: dict[str, Any] = {"type": "object", "properties": {}}
    lies = [
        {"name": "good", "inputSchema": some},
        {"name": "no-schema", "inputSchema": {"properties": {"a": {"type": "banana"}}}},
        {"name": "array", "inputSchema": {"type": "array"}},
        {"name": "abroad", "inputSchema": {**some, "$ref": "http://127.0.0.1/schema"}},
        {"name": "deep", "inputSchema": json.loads('{"not":' * 100 + "{}" + "}" * 100)},
        {"name": "large", "inputSchema": {**some, "description": "x" * 100_000}},
        {"name": "talks", "inputSchema": some, "description": "y" * 3_000_000},
        {"name": "good", "inputSchema": some},
        {"name": "task", "inputSchema": some, "execution": {"taskSupport": "required"}},
        {"name": "a name/of its own", "inputSchema": some},
    ]
    (tmp_path / "tools.json").write_text(json.dumps(lies))
    kit = rough(str(tmp_path / "tools.json"))
    assert list(found(kit)) == ["good", "talks", "a_name_of_its_own"]
    assert len(found(kit)["talks"].description) == bounds.DESCRIPTION_MAX_CHARS
    assert len(kit.standing.faults) == bounds.FAULTS_TOLD + 1
    assert kit.standing.faults[:2] == (
        "'array' has a schema that is not an object's, and is left out.",
        "'no-schema' has a schema that is no JSON Schema, and is left out.",
    )


def test_a_list_of_ten_megabytes_is_refused_and_said(rough: Make, tmp_path: Path) -> None:
    tool = {"name": "talks", "inputSchema": {"type": "object"}, "description": "y" * 10_000_000}
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    kit = rough(str(tmp_path / "tools.json"))
    assert kit.tools == ()
    assert kit.standing.fault == "says too much: the answer is longer than 8 MiB"


def test_of_hundreds_of_tools_the_first_are_used(rough: Make, tmp_path: Path) -> None:
    many = [{"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(500)]
    (tmp_path / "tools.json").write_text(json.dumps(many))
    kit = rough(str(tmp_path / "tools.json"))
    assert len(kit.tools) == 128
    assert "It has 500 tools; the first 128 are used." in kit.standing.faults[0]
    wanted = rough(str(tmp_path / "tools.json"), include_tools=["t400", "t2"], prefix="my_")
    assert list(found(wanted)) == ["my_t2", "my_t400"]


def test_two_servers_with_the_same_names_are_told_apart(rough: Make) -> None:
    def pid() -> str:
        """Ours."""
        return "ours"

    one, other = rough(name="one"), rough(name="other")
    model = FakeModel.of("done")
    Agent(name="a", model=model, toolkits=[Toolkit("own", [pid]), one, other]).run("x", user_id="u")
    names = [tool.name for tool in model.requests[0].tools]
    assert names[0] == "pid"
    assert {"one_echo", "other_echo", "one_pid", "other_pid"} <= set(names)
    assert len(names) == len(set(names))


STARTER = """
import sys, time
from webapp.agent import MCPToolkit
kit = MCPToolkit.stdio(sys.executable, [sys.argv[1], "stubborn"], name="rough")
tools = {tool.name: tool for tool in kit.tools}
print(tools["pid"].run("").content, tools["parent"].run("").content, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_of_a_server_whose_program_was_killed() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", STARTER, ROUGH], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    with program, program.stdout:
        pids = [int(word) for word in program.stdout.readline().split()]
        assert all(map(runs, pids))
        os.kill(program.pid, signal.SIGKILL)
        until(lambda: not any(map(runs, pids)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MCPToolkit.stdio(""), "needs a command"),
        (lambda: MCPToolkit.stdio("x", "args"), "args must be a list of texts"),
        (lambda: MCPToolkit.stdio("x", env={"A": "\0"}), "env must hold texts alone"),
        (lambda: MCPToolkit.stdio("x", timeout=0), "timeout must be more than 0"),
        (lambda: MCPToolkit.stdio("x", include_tools="one"), "include_tools must be a list"),
        (lambda: MCPToolkit.http("ftp://example.org"), "url must be an address"),
        (lambda: MCPToolkit.http("http://h/", headers={"a": "b\n"}), "headers must hold texts"),
    ],
)
def test_what_cannot_be_a_server_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        make()
