"""On the server all of it runs in greenlets of one thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROUGH = str(Path(__file__).with_name("rough_server.py"))

UNDER_GEVENT = """
from gevent import monkey, pool
monkey.patch_all()
import asyncio, sys, time
from tests.fakes import FakeModel, calls
from webapp.agent import Agent, MCPToolkit, Toolkit
from webapp.agent.event_loop import let_several_run
from webapp.agent.mcp import processes

let_several_run()  # as the server's workers do
processes.LEAVE_SECONDS = 0.1

def own_loop() -> str:
    async def little() -> str:
        await asyncio.sleep(0.05)
        return "own loop"
    return asyncio.run(little())

def answer(request):
    last = request.messages[-1]
    return "done" if last.role == "tool" else calls((last.content, {"word": "hi"}))

rough = MCPToolkit.stdio(sys.executable, [sys.argv[1]], timeout=1.0, name="rough")
plain = calls(("own_loop", {}))
with Agent(
    name="a",
    model=FakeModel(otherwise=lambda r: plain if r.messages[-1].content == "own" else answer(r)),
    toolkits=[rough, Toolkit("own", [own_loop])],
) as agent:
    agent.run("echo", user_id="first")
    began = time.monotonic()
    hanging = pool.Pool(1).spawn(agent.run, "hang", user_id="other")
    for output in pool.Pool(3).map(lambda user: agent.run("own", user_id=user), "abc"):
        print([m.content for m in output.messages if m.role == "tool"])
    assert time.monotonic() - began < 1.0
    output = hanging.get()
    print([m.content for m in output.messages if m.role == "tool"])
"""


def test_a_hanging_server_holds_up_nobody_and_a_tool_may_have_a_loop_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT, ROUGH], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [
        *["['own loop']"] * 3,
        "['Error: hang timed out: it did not end within 1 seconds.']",
    ], done.stderr
