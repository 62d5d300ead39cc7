"""A real PgBouncer in transaction mode in front of a test's PostgreSQL."""

from __future__ import annotations

import shutil
import signal
import subprocess

from benchmarks.processes import free_port
from tests.databases.own_server import Folder, command, give, missing, wait_for_port
from tests.databases.postgres import PASSWORD, ROLE, PostgresServer

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
auth_type = scram-sha-256
auth_file = {folder}/users
default_pool_size = {pool}
max_client_conn = 500
server_lifetime = 3600
log_connections = 0
log_disconnections = 0
"""


class PgBouncer:
    """One pooler; few server connections, so that clients do share them."""

    def __init__(self, server: PostgresServer, *, pool: int = 4) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            missing("pgbouncer")
        self._folder = Folder()
        self._server = server
        self._program = program
        self.port = free_port()
        self._write("users", f'"{ROLE}" "{PASSWORD}"\n"postgres" "{PASSWORD}"\n')
        self._write(
            "pgbouncer.ini",
            CONFIGURATION.format(
                server=server.port, port=self.port, folder=self._folder.path, pool=pool
            ),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, url: str) -> str:
        """The same database, through the pooler."""
        return self._server.url(self._server.database_of(url), port=self.port)

    @property
    def log(self) -> str:
        return (self._folder.path / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        with (self._folder.path / "log").open("ab") as log:
            program = command(self._program, "-q", self._folder.path / "pgbouncer.ini")
            self._process = subprocess.Popen(program, stderr=log, stdout=log, cwd="/")
        if not wait_for_port(self.port, self._process):
            raise RuntimeError(f"PgBouncer does not start:\n{self.log[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.remove()

    def _write(self, name: str, text: str) -> None:
        path = self._folder.path / name
        path.write_text(text, encoding="utf-8")
        give(path)
