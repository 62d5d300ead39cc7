"""A worker that kills itself with SIGKILL at one moment of a run, and another that goes on.

`python -m tests.workflow.killed URL [EVERY]` tries the moments one after the other, each in
children of its own: before and behind each commit, and in the middle of each step. It prints a line
of JSON for each moment. With EVERY it tries each EVERYth moment alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.agent import Agent, ModelReply, ModelRequest, RunContext, Toolkit
from webapp.errors import NotFound, RunUnderWay
from webapp.memory import PostgresMemory, SQLiteMemory
from webapp.messages import ToolCall, Usage
from webapp.storage import Connection, Database, open_database
from webapp.storage.database import SERVER_SCHEMES
from webapp.turns.lines import TurnLines
from webapp.turns.shared import SharedTurnQueue
from webapp.workflow import (
    Condition,
    ExecutionContext,
    Loop,
    Parallel,
    Router,
    RunSummary,
    Step,
    Workflow,
)
from webapp.workflow.stored import StoredWorkflows

LEASE = 0.8
USER = "alice"
PATIENCE_SECONDS = 30


@dataclass(slots=True)
class Death:
    """Comes at the moment with this number; 0 never."""

    at: int
    moment: int = 0

    def may_come(self) -> None:
        self.moment += 1
        if self.moment == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """A database whose commits are moments to die at."""

    def __init__(self, database: Database, death: Death) -> None:
        self._database = database
        self._death = death

    def write(self, work: Callable[[Connection], Any]) -> Any:
        self._death.may_come()
        result = self._database.write(work)
        self._death.may_come()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class Talker:
    """A model that calls the tool once, and then answers."""

    name = "talker"

    def complete(self, request: ModelRequest) -> ModelReply:
        if request.messages[-1].role == "tool":
            return ModelReply("told", (), Usage(2, 3))
        return ModelReply("", (ToolCall("call-1", "tell", "{}"),), Usage(1, 1))

    stream = None


def workflow_of(database: Any, url: str, effects: Path, death: Death) -> Workflow:
    """Every kind of part; what the steps do outside goes into the file of effects."""

    def effect(name: str, key: str) -> None:
        with effects.open("a") as file:
            file.write(f"{name} {key}\n")
        death.may_come()

    def step(name: str) -> Step:
        def act(context: ExecutionContext) -> str:
            effect(name, context.idempotency_key)
            context.session_state.change("count", lambda number: number + 1, 0)
            context.session_state.set(name, True)
            return f"{context.text} {name}"

        return Step(name, act)

    def tell(context: RunContext) -> str:
        """Tells it."""
        effect("tell", context.idempotency_key)
        return "told"

    memory = PostgresMemory(database) if url.startswith(SERVER_SCHEMES) else SQLiteMemory(database)
    agent = Agent(name="agent", model=Talker(), memory=memory, toolkits=[Toolkit("t", [tell])])  # type: ignore[arg-type]  # it is not streamed
    lines = lines_of(url, database)
    return Workflow(
        "all",
        [
            step("first"),
            agent,
            Parallel("both", [step("left"), Condition("if", lambda context: True, step("yes"))]),
            Loop("twice", step("again"), lambda context: len(context.text) > 10_000, 2),
            Router("way", lambda context: ["b", "a"], [step("a"), step("b")]),
            Step("inner", workflow=Workflow("within", [step("deep")])),
        ],
        version="1",
        store=StoredWorkflows(database, lines=lines),
    )


def lines_of(url: str, database: Any) -> SharedTurnQueue:
    """Those of a server know a dead process by its lease, which is short here."""
    return SharedTurnQueue(_lines_of(url, database), lambda name: name, lease=LEASE)


def _lines_of(url: str, database: Any) -> TurnLines:
    if url.startswith(SERVER_SCHEMES):
        from webapp.storage.postgres.turn_lines import PostgresTurnLines

        return PostgresTurnLines(database, lease=LEASE)
    from webapp.storage.sqlite.turn_lines import SQLiteTurnLines

    return SQLiteTurnLines(Path(url.removeprefix("sqlite:///")))


def try_moment(url: str, moment: int, effects: Path) -> dict[str, Any]:
    """Dies at the moment, goes on in another process; what is there afterwards."""
    run_id = f"run-{moment}"
    session = f"session-{moment}"
    child = os.fork()
    if not child:
        _run(url, moment, effects, run_id, session)
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    other = os.fork()
    if not other:
        _go_on(url, effects, run_id, session)
    _, status = os.waitpid(other, 0)
    said = effects.with_suffix(".json")
    result: dict[str, Any] = json.loads(said.read_text()) if said.exists() else {}
    return {"moment": moment, "died": died, "status": status, **result}


def _run(url: str, moment: int, effects: Path, run_id: str, session: str) -> None:
    death = Death(moment)
    database = Dying(open_database(url), death)
    workflow = workflow_of(database, url, effects, death)
    workflow.run("go", user_id=USER, session_id=session, run_id=run_id)
    os._exit(0)


def _go_on(url: str, effects: Path, run_id: str, session: str) -> None:
    try:
        database = open_database(url)
        workflow = workflow_of(database, url, effects, Death(0))
        before = _kept(workflow, run_id)
        _resume(workflow, run_id, session)
        run = workflow.get_run(run_id, user_id=USER)
        memory = SQLiteMemory(database) if url.startswith("sqlite") else PostgresMemory(database)
        result = {
            "finished_before": before,
            "content": run.content,
            "steps": [[step.path, step.attempt] for step in run.steps],
            "state": memory.get_state(user_id=USER, session_id=session),
            "messages": memory.size(user_id=USER, session_id=session),
            "effects": effects.read_text().splitlines(),
        }
        effects.with_suffix(".json").write_text(json.dumps(result))
        os._exit(0)
    except Exception:  # noqa: BLE001 - whatever it is, the parent is told
        traceback.print_exc()
    finally:
        os._exit(1)


def _kept(workflow: Workflow, run_id: str) -> list[str]:
    try:
        run: RunSummary = workflow.get_run(run_id, user_id=USER)
    except NotFound:
        return []
    return [step.path for step in run.steps]


def _resume(workflow: Workflow, run_id: str, session: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            workflow.resume(run_id, user_id=USER)
        except NotFound:
            # It died before there was a run.
            workflow.run("go", user_id=USER, session_id=session, run_id=run_id)
        except RunUnderWay as error:
            if "complete" in error.message:
                return
            assert time.monotonic() < end
            time.sleep(0.02)  # until the lease of the dead one is over
            continue
        return


def main() -> None:
    url, every = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        moment, died = 1, True
        while died:
            effects = Path(folder) / f"{moment}.txt"
            effects.touch()
            result = try_moment(url, moment, effects)
            print(json.dumps(result), flush=True)  # noqa: T201 - it is read by the test
            died = result["died"]
            moment += every


if __name__ == "__main__":
    main()
