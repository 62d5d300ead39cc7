"""A real PostgreSQL server for tests: its databases, and its bad days."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.processes import free_port, tree
from tests.databases.own_server import START_SECONDS, Folder, command, give, missing, wait_for_port

ROLE = "switchboard"  # as an installation has it: no superuser; it owns its databases
PASSWORD = "not-a-secret"
FILLER = "filler"

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
max_connections = 200
shared_buffers = 32MB
fsync = {fsync}
full_page_writes = {fsync}
min_wal_size = 4MB
max_wal_size = 64MB
autovacuum_naptime = 5s
log_min_messages = warning
log_line_prefix = '%m [%p] %q%u@%d '
"""


def find_programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps the server's outside of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: int(f.parent.name))
    found = [folder for folder in folders if (folder / "postgres").exists()]
    if found:
        return found[-1]
    on_path = shutil.which("postgres")
    if on_path is None:
        missing("postgresql")
    return Path(on_path).parent


class PostgresServer:
    """One server with a data directory of its own, on a Unix socket and a port of loopback."""

    def __init__(self, *, fsync: bool = False, disk_mib: int | None = None) -> None:
        """`disk_mib` gives it a small disk of its own, in memory, that can be filled."""
        self.programs = find_programs()
        self.port = free_port()
        self._folder = Folder()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._data = self._folder.path / "data"
        self._data.mkdir()
        self._limited = disk_mib is not None
        if disk_mib is not None:
            size = f"size={disk_mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self._data], check=True)
        give(self._data)
        try:
            self._make(fsync)
            self.start()
            self.execute("CREATE ROLE switchboard LOGIN PASSWORD 'not-a-secret'")
        except BaseException:
            self.close()
            raise

    @property
    def socket_folder(self) -> Path:
        return self._folder.path

    @property
    def log(self) -> str:
        return (self._folder.path / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    # --- Databases

    def url(self, database: str, *, superuser: bool = False, port: int | None = None) -> str:
        user = "postgres" if superuser else ROLE
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Makes one that the application's role owns, as a copy of the template; its URL."""
        name = f"test_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
            sql.Identifier(name), sql.Identifier(template), sql.Identifier(ROLE)
        )
        self._as_superuser(statement)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Removes it, whoever is still connected."""
        name = sql.Identifier(self.database_of(url))
        self._as_superuser(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def database_of(self, url: str) -> str:
        return urlsplit(url).path.removeprefix("/")

    def execute(self, statement: LiteralString, database: str = "postgres") -> list[Any]:
        """Runs a statement as the superuser; its rows, if it has any."""
        return self._as_superuser(sql.SQL(statement), database)

    def _as_superuser(
        self, statement: sql.SQL | sql.Composed, database: str = "postgres"
    ) -> list[Any]:
        # A read-only server must hear that it is to take writes again.
        options = "-c default_transaction_read_only=off"
        with closing(
            psycopg.connect(
                self.url(database, superuser=True),
                autocommit=True,
                options=options,
                connect_timeout=10,
            )
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    # --- Its life

    def start(self) -> None:
        """Starts it on its port, and returns once it answers."""
        until = time.monotonic() + START_SECONDS
        while not self._try_start():
            # What a killed server has left may hold its shared memory for a moment.
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it in order: connections are cut, what is committed is written out."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Ends it as a crash does, with kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stops every one of its processes meanwhile: connections stay open, nothing answers."""
        processes = tree(self.pid)
        for pid in processes:
            _signal(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                _signal(pid, signal.SIGCONT)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuses every write meanwhile, of open connections as well."""
        self.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        self.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.execute("ALTER SYSTEM RESET default_transaction_read_only")
            self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """Leaves not one block free meanwhile; for a server with a disk of its own."""
        assert self._limited, "PostgresServer(disk_mib=…) has a disk that can be filled"
        filler = self._data / FILLER
        try:
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(65536)):
                        pass
                except OSError:
                    pass  # full
            yield
        finally:
            filler.unlink()

    def close(self) -> None:
        self.kill()
        self._folder.remove()

    def _make(self, fsync: bool) -> None:
        password = self._folder.path / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        give(password)
        initdb = command(
            self.programs / "initdb",
            *("--pgdata", str(self._data), "--username=postgres", "--pwfile", str(password)),
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--no-sync", "--no-instructions", "--wal-segsize=1"),
        )
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
        text = SETTINGS.format(folder=self._folder.path, fsync="on" if fsync else "off")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(text)

    def _try_start(self) -> bool:
        with (self._folder.path / "log").open("ab") as log:
            program = command(self.programs / "postgres", "-D", self._data, "-p", str(self.port))
            self._process = subprocess.Popen(program, stderr=log, stdout=log, cwd="/")
        if not wait_for_port(self.port, self._process):
            self._process = None
            return False
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                # Before it is ready, and while it recovers, it refuses whoever has connected.
                psycopg.connect(self.url("postgres", superuser=True), connect_timeout=10).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # a process of it may end meanwhile
