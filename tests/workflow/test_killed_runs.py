"""A run is killed with SIGKILL in its steps and around its commits, and goes on elsewhere.

Some moments alone; `python -m tests.workflow.killed URL` tries every one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from webapp.storage import Database

EVERY = 11
STEPS = (
    *("first", "agent", "both/left", "both/if", "both/if/yes", "both", "twice[1]/again"),
    *("twice[1]", "twice[2]/again", "twice[2]", "way", "way/b", "way/a", "inner/deep"),
)


def test_a_killed_run_goes_on_where_it_was(database: Database, database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workflow.killed", database_url, str(EVERY)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tried) > 4
    assert [each["died"] for each in tried] == [True] * (len(tried) - 1) + [False]
    for each in tried:
        assert fault_of(each) == "", f"{each}\n{done.stderr}"


def fault_of(tried: dict[str, Any]) -> str:
    """What is wrong with a run that was killed and went on."""
    if tried["status"]:
        return "it did not go on"
    if tried["content"] != "left:\ntold left\n\nif:\ntold yes again again b a deep":
        return "another outcome"
    if sorted(path for path, _ in tried["steps"]) != sorted(STEPS):
        return "a step is missing, or there twice"
    state = {"count": 7, **dict.fromkeys(("first", "left", "yes", "again", "b", "a", "deep"), True)}
    if tried["state"] != state:
        return "another state"
    if tried["messages"] != 4:
        return "the agent's turn is missing, or there twice"
    times = Counter(tried["effects"])
    names = {effect.partition(" ")[0] for effect in times}
    if names != {"first", "tell", "left", "yes", "again", "b", "a", "deep"} or len(times) != 9:
        return "an effect is missing, or has another key"
    again = [effect for effect, number in times.items() if number > 1]
    finished = {path.rpartition("/")[2] for path in tried["finished_before"]}
    for effect in again:
        name, _, key = effect.partition(" ")
        if name == "tell":
            continue  # the agent's turn was not in its memory yet, or the test below says so
        if key.partition("/")[2] in tried["finished_before"]:
            return f"the finished step {key} was run again"
    if "agent" in finished and times[next(e for e in times if e.startswith("tell "))] > 1:
        return "the finished step of the agent was run again"
    return "" if max(times.values()) <= 2 else "an effect came three times"
