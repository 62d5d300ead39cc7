"""The servers, the database and the upstream of one bad day."""

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

from benchmarks.bad_days.crowd import Crowd
from benchmarks.bad_days.witness import Witness
from benchmarks.processes import free_port, tree
from tests.databases.postgres import PostgresServer
from tests.server.running import COMMAND, Server
from tests.upstream import Upstream, upstream

KEEPS_ALL = {"MEMORY_MAX_MESSAGES": "0", "CONTEXT_MAX_MESSAGES": "2000", "MODEL_MAX_RETRIES": "1"}
BACK_SECONDS = 60.0


@dataclass(slots=True)
class House:
    """What a day may break."""

    folder: Path
    servers: list[Server]
    witness: Witness
    stub: Upstream
    postgres: PostgresServer | None = None
    counted: dict[str, Any] = field(default_factory=dict)

    @property
    def server(self) -> Server:
        return self.servers[0]

    def workers(self, server: Server | None = None) -> list[int]:
        """The processes behind the first one."""
        one = server or self.server
        return [pid for pid in tree(one.pid) if pid != one.pid]

    def crowd(self, users: int = 12) -> Crowd:
        ports = [server.port for server in self.servers]
        return Crowd(ports, self.server.credential, self.witness, users)

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


def _is_well(server: Server) -> bool:
    try:
        if server.request("GET", "/readyz", timeout=10).status != 200:
            return False
        return server.chat("well", "well", timeout=30).status == 200
    except (OSError, ValueError):
        return False


@contextmanager
def opened(
    engine: str,
    *,
    servers: int = 1,
    workers: int = 2,
    disk_mib: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[House]:
    """A house with servers that answer. With `disk_mib` its database is on a small disk."""
    folder = Path(tempfile.mkdtemp(prefix="bad-day-"))
    witness = Witness()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stub = stack.enter_context(upstream(witness))
        postgres, places = None, dict(settings or {})
        if engine == "postgres":
            postgres = PostgresServer(fsync=True, disk_mib=disk_mib)
            stack.callback(postgres.close)
            places["DATABASE_URL"] = postgres.create_database()
        elif disk_mib is not None:
            disk = folder / "server-0"
            disk.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "none", disk], check=True
            )
            stack.callback(lambda: subprocess.run(["umount", "-l", disk], check=False))
        house = House(folder, [], witness, stub, postgres)
        for number in range(servers):
            one = Server(folder / f"server-{number}", free_port(), stub.base_url)
            one.settings = {**KEEPS_ALL, **places}
            if engine == "sqlite" and number:
                one.settings["DATABASE_URL"] = f"sqlite:///{house.server.database}"
                one.settings.setdefault("WORKERS", str(workers))
            if number:
                one.credential = dict(house.server.credential)
                one.folder.mkdir(parents=True, exist_ok=True)
                one.settings["AUTH"] = "required"
                one.launch_serve("--workers", str(workers))
                one.wait()
            else:
                one.serve("--workers", str(workers))
            house.servers.append(one)
            stack.callback(one.kill_group)
        house.wait_until_well()
        yield house


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
