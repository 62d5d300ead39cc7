"""The servers, the database and the upstream of one bad day."""

import http.client
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bad_days.clock import ahead
from benchmarks.bad_days.crowd import Crowd, Door
from benchmarks.bad_days.limited import Limited
from benchmarks.bad_days.network import Guest, Namespace
from benchmarks.bad_days.witness import Witness
from benchmarks.processes import free_port, tree
from tests.databases.postgres import PostgresServer
from tests.redis_server import RedisServer, redis_server
from tests.server.running import COMMAND, Server
from tests.upstream import Upstream, upstream

KEEPS_ALL = {"MEMORY_MAX_MESSAGES": "0", "CONTEXT_MAX_MESSAGES": "2000", "MODEL_MAX_RETRIES": "1"}
BACK_SECONDS = 60.0
PATIENCE_SECONDS = 90.0


@dataclass(slots=True)
class House:
    """What a day may break."""

    folder: Path
    servers: list[Server]
    witness: Witness
    stub: Upstream
    postgres: PostgresServer | None = None
    redis: RedisServer | None = None
    namespace: Namespace | None = None
    talkers: Crowd | None = None
    limited: Limited | None = None
    counted: dict[str, Any] = field(default_factory=dict)

    @property
    def server(self) -> Server:
        return self.servers[0]

    def workers(self, server: Server | None = None) -> list[int]:
        """The processes behind the first one."""
        one = server or self.server
        return [pid for pid in tree(one.pid) if pid != one.pid]

    def crowd(self, users: int = 12, rate: float | None = None) -> Crowd:
        doors = [_door(server) for server in self.servers]
        self.talkers = Crowd(doors, self.server.credential, self.witness, users, rate)
        return self.talkers

    def wait_until_well(self) -> None:
        """Every server is ready, and takes a turn."""
        for server in self.servers:
            deadline = time.monotonic() + BACK_SECONDS
            while not _is_well(server):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"it does not come back: {server.printed[-2000:]}")
                time.sleep(0.1)

    def history(self, user: str) -> list[dict[str, Any]]:
        """Every message that is stored of the user, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/api/tenants/{user}/messages?limit=200{cursor}"
            page = self.server.request("GET", path).json
            found += page.get("messages", [])
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def check_data(self) -> str:
        """What `switchboard check --data` says of the data; '' when all agrees."""
        server = self.server
        done = subprocess.run(
            [str(COMMAND), "check", "--data"],
            check=False,
            env=server.environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )
        wrong = [line for line in done.stdout.splitlines() if line.startswith("fault")]
        return " ".join(line for line in wrong if "model" not in line.split(":")[0])


def _door(server: Server) -> Door:
    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)

    def connect_inside() -> http.client.HTTPConnection:
        assert isinstance(server, Guest)
        connection = connect()
        with server.namespace.entered():
            connection.connect()
        return connection

    return connect_inside if isinstance(server, Guest) else connect


def _is_well(server: Server) -> bool:
    try:
        if server.request("GET", "/readyz", timeout=10).status != 200:
            return False
        return server.chat("well", "well", timeout=30).status == 200
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a house is to have.

    With `disk_mib` its database is on a small disk. With `redis` limits are counted there. Of the
    last server the clock is an hour fast (`clock_off`), or it is in a namespace (`apart`).
    """

    servers: int = 1
    workers: int = 2
    disk_mib: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    redis: bool = False
    clock_off: bool = False
    apart: bool = False


@contextmanager
def opened(engine: str, plan: Plan) -> Iterator[House]:
    """A house with servers that answer."""
    folder = Path(tempfile.mkdtemp(prefix="bad-day-"))
    witness = Witness()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stub = stack.enter_context(upstream(witness))
        house = House(folder, [], witness, stub)
        places = {**KEEPS_ALL, **plan.settings}
        if plan.apart:
            house.namespace = Namespace()
            stack.callback(house.namespace.close)
            house.namespace.open()
        if engine == "postgres":
            house.postgres = PostgresServer(fsync=True, disk_mib=plan.disk_mib)
            stack.callback(house.postgres.close)
            places["DATABASE_URL"] = house.postgres.create_database()
        elif plan.disk_mib is not None:
            _give_small_disk(folder / "server-0", plan.disk_mib, stack)
        if plan.redis:
            house.redis = stack.enter_context(redis_server(folder))
            places["RATE_LIMIT_STORAGE_URL"] = house.redis.url
        for number in range(plan.servers):
            is_last = number == plan.servers - 1
            one = Server(folder / f"server-{number}", free_port(), stub.base_url, dict(places))
            if is_last and plan.apart:
                one = _guest(house, one, stack)
            if is_last and plan.clock_off:
                one.variables = ahead()
            _start(house, one, engine, str(plan.workers))
            stack.callback(one.kill_group)
        house.wait_until_well()
        yield house


def _start(house: House, one: Server, engine: str, workers: str) -> None:
    """Starts a server, which uses what the first one has made."""
    house.servers.append(one)
    if one is house.server:
        one.serve("--workers", workers)
        return
    if engine == "sqlite":
        one.settings["DATABASE_URL"] = f"sqlite:///{house.server.database}"
        one.settings.setdefault("WORKERS", workers)
    one.credential = dict(house.server.credential)
    one.folder.mkdir(parents=True, exist_ok=True)
    one.settings["AUTH"] = "required"
    one.launch_serve("--workers", workers)
    one.wait()


def _guest(house: House, one: Server, stack: ExitStack) -> Guest:
    """The server as one inside of the namespace, with an upstream there, and the database here."""
    assert house.namespace is not None
    assert house.postgres is not None
    with house.namespace.entered():
        stub = stack.enter_context(upstream(house.witness))
        guest = Guest(one.folder, free_port(), stub.base_url, one.settings)
    guest.namespace = house.namespace
    here, there = "127.0.0.1", house.namespace.host
    guest.settings["DATABASE_URL"] = one.settings["DATABASE_URL"].replace(here, there)
    data = house.postgres.socket_folder / "data"
    with (data / "postgresql.conf").open("a") as file:
        file.write(f"listen_addresses = '{here},{there}'\n")
    with (data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {house.namespace.network}/30 scram-sha-256\n")
    house.postgres.restart()
    return guest


def _give_small_disk(folder: Path, mib: int, stack: ExitStack) -> None:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", folder], check=True)
    stack.callback(lambda: subprocess.run(["umount", "-l", folder], check=False))


def fill(folder: Path) -> Path:
    """Leaves no free byte on the disk of the folder; gives the file that takes them."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass  # full
    os.sync()
    return filler
