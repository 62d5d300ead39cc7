"""The Python peer: agno's AgentOS with SqliteDb, as its documentation sets it up for serving.

Runs in an environment of its own (`benchmarks/agno-requirements.txt`) and imports nothing of
this project. Environment: `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `AGNO_DATABASE` (a file) and
`AGNO_HISTORY_RUNS` (how many earlier turns are sent with each).
"""

import os

from agno.agent import Agent  # type: ignore[import-not-found]  # in the peer's own environment
from agno.db.sqlite import SqliteDb  # type: ignore[import-not-found]  # in the peer's own environment
from agno.models.openai import OpenAILike  # type: ignore[import-not-found]  # in the peer's own environment
from agno.os import AgentOS  # type: ignore[import-not-found]  # in the peer's own environment
from fastapi import FastAPI  # type: ignore[import-not-found]  # in the peer's own environment


def create_app() -> FastAPI:
    """Make the app for `uvicorn --factory agno_peer:create_app`."""
    database = SqliteDb(db_file=os.environ["AGNO_DATABASE"])
    model = OpenAILike(
        id="stub",
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
    )
    agent = Agent(
        id="peer",
        name="peer",
        model=model,
        db=database,
        instructions="You are a helpful assistant.",
        add_history_to_context=True,
        num_history_runs=int(os.environ["AGNO_HISTORY_RUNS"]),
        telemetry=False,
    )
    app: FastAPI = AgentOS(agents=[agent], db=database, telemetry=False).get_app()
    return app
