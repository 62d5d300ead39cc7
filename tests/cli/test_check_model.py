"""`switchboard check` asks the model as turns do, and says what of a request it goes without."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import SWITCHBOARD
from tests.upstream import Answer, saying, streaming, upstream


def refusing_tools(body: dict[str, Any]) -> Answer:
    if "tools" in body:
        error = {"message": "hunter2: this model does not support tools"}
        return Answer(json.dumps({"error": error}).encode(), 400)
    return streaming("ready") if body.get("stream") else saying("ready")


def check(base_url: str, folder: Path, tools: str) -> tuple[int, str, str]:
    env = {
        "PATH": "/usr/bin:/bin",
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "k",
        "SWITCHBOARD_MODEL": "small-one",
        "SWITCHBOARD_TOOLS": tools,
        "SWITCHBOARD_DATABASE_URL": f"sqlite:///{folder / 'check.db'}",
    }
    subprocess.run([SWITCHBOARD, "db", "upgrade"], env=env, check=True, capture_output=True)
    done = subprocess.run([SWITCHBOARD, "check"], env=env, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line[7:].startswith("model:"))
    return done.returncode, line, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("tools", "status", "said"),
    [
        ("auto", 0, "goes without tools"),
        ("off", 0, "small-one"),
        ("on", 1, "takes no tools"),
        ("No", 0, "small-one"),
    ],
)
def test_check_says_what_the_model_refuses(
    tmp_path: Path, tools: str, status: int, said: str
) -> None:
    with upstream(refusing_tools) as server:
        code, line, everything = check(server.base_url, tmp_path, tools)
    assert code == status
    assert said in line
    assert ("goes without" in line) == (tools == "auto")
    assert "hunter2" not in everything
    assert "model_part_refused" not in everything
    assert any("tools" in body for body in server.requests) == (tools in ("auto", "on"))
