"""The servers that are compared: how each is started, filled and asked.

What is measured on them is in `benchmarks.compare`; reading their processes in
`benchmarks.processes`.
"""

import atexit
import hashlib
import os
import secrets
import sqlite3
import subprocess
import sys
import uuid
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from benchmarks.load import Load, run_load
from benchmarks.processes import Server, ServerFailed, free_port
from benchmarks.targets import AgnoTarget, ChatTarget, Target
from tests.databases.postgres import PostgresServer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
AGNO_ENVIRONMENT = HERE / ".agno-venv"
AGNO_REQUIREMENTS = HERE / "agno-requirements.txt"
SWITCHBOARD = Path(sys.executable).with_name("switchboard")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a server is to be run for one row.

    `history_turns` is how many earlier turns at most go to the model with each; `concurrency`
    how many turns will be under way; `keep_all` switches the memory's cap off.
    """

    upstream: str
    concurrency: int = 16
    history_turns: int = 3
    keep_all: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A started server and where it listens."""

    server: Server
    port: int
    folder: Path

    @property
    def host(self) -> str:
        """Return what goes into the Host header."""
        return f"127.0.0.1:{self.port}"


class Peer(Protocol):
    """A server that can be compared."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether it has a memory to fill."""
        ...

    def start(self, setting: Setting, folder: Path) -> Running:
        """Start it on a fresh database in an empty folder and return when it answers."""
        ...

    def target(self, running: Running, stream: bool) -> Target:
        """Return how it is asked for a turn."""
        ...

    def fill(self, running: Running, users: Sequence[str], turns: int) -> None:
        """Give each user so many stored turns."""
        ...


@dataclass(frozen=True, slots=True)
class Switchboard:
    """This project, as `switchboard dev` runs it."""

    name: str = "switchboard"
    remembers: bool = True

    def start(self, setting: Setting, folder: Path) -> Running:
        """Start `switchboard dev` with its database in `folder`."""
        port = free_port()
        command = [str(SWITCHBOARD), "dev", "--port", str(port)]
        return _start(command, self.environment(setting, folder), folder, port, "/healthz")

    def environment(self, setting: Setting, folder: Path) -> dict[str, str]:
        """Return what it is told."""
        return {
            "OPENAI_BASE_URL": setting.upstream,
            "OPENAI_API_KEY": "benchmark",
            "SWITCHBOARD_DATABASE_URL": self.database_url(folder),
            "SWITCHBOARD_RATE_LIMIT": "100000000/minute",
            "SWITCHBOARD_CONTEXT_MAX_MESSAGES": "100",
            "SWITCHBOARD_MEMORY_MAX_MESSAGES": "0" if setting.keep_all else "100",
        }

    def database_url(self, folder: Path) -> str:
        """Return where a fresh database is."""
        return f"sqlite:///{folder / 'switchboard.db'}"

    def target(self, running: Running, stream: bool) -> Target:
        """Ask by `POST /chat`."""
        return ChatTarget(running.host, stream)

    def fill(self, running: Running, users: Sequence[str], turns: int) -> None:
        """Run the turns through the API."""
        _fill_by_turns(running, self.target(running, stream=False), users, turns)


@dataclass(frozen=True, slots=True)
class SwitchboardOnPostgres(Switchboard):
    """The same over a PostgreSQL server of its own, on this machine and in its usual settings."""

    name: str = "switchboard-postgres"

    def database_url(self, folder: Path) -> str:
        """Make a database on the one server of this run."""
        return _postgres().create_database()


@dataclass(frozen=True, slots=True)
class SwitchboardServing(Switchboard):
    """`switchboard serve` with so many workers, asked with a key."""

    name: str = "serve-1"
    workers: int = 1

    def start(self, setting: Setting, folder: Path) -> Running:
        """Make the database and a key, and start it."""
        port = free_port()
        told = self.environment(setting, folder)
        told["SWITCHBOARD_SECRET_KEY"] = secrets.token_urlsafe(48)
        _run(told, folder, "db", "upgrade")
        made = _run(told, folder, "keys", "create", "benchmark", "--role", "chat", "--users", "*")
        (folder / "key").write_text(next(word for word in made.split() if word.startswith("sb_")))
        command = [str(SWITCHBOARD), "serve", "--bind", f"127.0.0.1:{port}"]
        command += ["--workers", str(self.workers)]
        return _start(command, told, folder, port, "/healthz")

    def target(self, running: Running, stream: bool) -> Target:
        """Ask by `POST /chat` with the key."""
        return ChatTarget(running.host, stream, key=(running.folder / "key").read_text())


def _run(told: Mapping[str, str], folder: Path, *command: str) -> str:
    ended = subprocess.run(
        [str(SWITCHBOARD), *command],
        env=os.environ | told,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise ServerFailed(f"switchboard {' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    return ended.stdout


@cache
def _postgres() -> PostgresServer:
    server = PostgresServer(fsync=True)
    atexit.register(server.close)
    server.execute("ALTER SYSTEM SET shared_buffers = '128MB'")
    server.execute("ALTER SYSTEM SET max_wal_size = '1GB'")
    server.execute("ALTER SYSTEM SET min_wal_size = '80MB'")
    server.restart()
    return server


@dataclass(frozen=True, slots=True)
class Agno:
    """Python agno's AgentOS with SqliteDb under uvicorn, in an environment of its own."""

    name: str = "agno"
    remembers: bool = True

    def start(self, setting: Setting, folder: Path) -> Running:
        """Start it on uvloop and httptools, without an access log."""
        port = free_port()
        environment = {
            "OPENAI_BASE_URL": setting.upstream,
            "OPENAI_API_KEY": "benchmark",
            "AGNO_DATABASE": str(folder / "agno.db"),
            "AGNO_HISTORY_RUNS": str(setting.history_turns),
            "AGNO_TELEMETRY": "false",
        }
        command = [str(agno_python()), "-m", "uvicorn", "--factory", "agno_peer:create_app"]
        command += ["--app-dir", str(HERE), "--port", str(port), "--backlog", "4096"]
        command += ["--loop", "uvloop", "--http", "httptools"]
        command += ["--log-level", "warning", "--no-access-log"]
        return _start(command, environment, folder, port, "/health")

    def target(self, running: Running, stream: bool) -> Target:
        """Ask by a run of its one agent."""
        return AgnoTarget(running.host, stream)

    def fill(self, running: Running, users: Sequence[str], turns: int) -> None:
        """Run one user's turns through the API and copy its rows for the others.

        The copies are what the API would have stored, and spare minutes of filling.
        """
        first, *others = users
        _fill_by_turns(running, self.target(running, stream=False), [first], turns)
        copy_agno_session(running.folder / "agno.db", first, others)


@dataclass(frozen=True, slots=True)
class BareFlask:
    """Flask that only passes on, under gunicorn with one worker of a chosen class."""

    worker: str
    remembers: bool = False

    @property
    def name(self) -> str:
        """Name the worker class with it."""
        return f"bare-{self.worker}"

    def start(self, setting: Setting, folder: Path) -> Running:
        """Start it with room for every turn at once."""
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
        command += ["--workers", "1", "--worker-class", self.worker, "--backlog", "4096"]
        command += ["--chdir", str(ROOT), "--keep-alive", "75", "--log-level", "warning"]
        if self.worker == "gthread":
            command += ["--threads", str(max(16, setting.concurrency))]
        command += ["--worker-connections", str(max(1000, 2 * setting.concurrency))]
        command.append("benchmarks.bare_flask:create_app()")
        return _start(command, {"BARE_UPSTREAM": setting.upstream}, folder, port, "/healthz")

    def target(self, running: Running, stream: bool) -> Target:
        """Ask as Switchboard is asked; it does not stream."""
        return ChatTarget(running.host, stream)

    def fill(self, running: Running, users: Sequence[str], turns: int) -> None:
        """Do nothing: it remembers nothing."""


def copy_agno_session(database: Path, source: str, users: Sequence[str]) -> None:
    """Copy the stored session of one user of `AgnoTarget` to others, ids replaced."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table in ("agno_sessions", "agno_runs"):
            cursor = connection.execute(
                f"SELECT * FROM {table} WHERE session_id = ?", (f"session-{source}",)
            )
            columns = [column[0] for column in cursor.description]
            marks = ", ".join("?" for _ in columns)
            insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
            rows = cursor.fetchall()
            for user in users:
                connection.executemany(
                    insert, (_for_user(columns, row, source, user) for row in rows)
                )
        connection.execute("COMMIT")
    finally:
        connection.close()


def _for_user(
    columns: Sequence[str], row: Sequence[object], source: str, user: str
) -> list[object]:
    run = dict(zip(columns, row, strict=True)).get("run_id")
    fresh = str(uuid.uuid4())
    copied: list[object] = []
    for value in row:
        if isinstance(value, str):
            value = value.replace(source, user)
            if isinstance(run, str):
                value = value.replace(run, fresh)
        copied.append(value)
    return copied


def agno_python() -> Path:
    """Return the interpreter of agno's environment, made first when it is missing or old."""
    wanted = hashlib.sha256(AGNO_REQUIREMENTS.read_bytes()).hexdigest()
    stamp = AGNO_ENVIRONMENT / "made-from"
    python = AGNO_ENVIRONMENT / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print("making agno's environment from", AGNO_REQUIREMENTS.name, file=sys.stderr, flush=True)
    venv.create(AGNO_ENVIRONMENT, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(AGNO_REQUIREMENTS)]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServerFailed(f"agno could not be installed:\n{made.stderr[-2000:]}")
    stamp.write_text(wanted)
    return python


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int, path: str
) -> Running:
    server = Server(command, environment=environment, folder=folder, log=folder / "server.log")
    server.wait_ready(port, path)
    return Running(server, port, folder)


def _fill_by_turns(running: Running, target: Target, users: Sequence[str], turns: int) -> None:
    wanted = len(users) * turns
    load = Load(
        host="127.0.0.1",
        port=running.port,
        connections=min(8, len(users)),
        users=users,
        seconds=600,
        turns=wanted,
    )
    figures = run_load(target, load)
    if figures.turns != wanted:
        raise ServerFailed(f"only {figures.turns} of {wanted} turns filled: {figures.errors}")
