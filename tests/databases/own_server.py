"""A server program that a test starts: its folder, its account, its end with the test process."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import pytest

PREFIX = "switchboard-tests-"
START_SECONDS = 30.0
# A folder without its lock may still be in the making; behind this its process has ended.
STALE_SECONDS = 120.0


def missing(program: str) -> NoReturn:
    """Leaves the test out; on a build machine it fails, because a skip would hide it."""
    if os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(f"{program} is missing and REQUIRE_SERVERS=1 is set")
    pytest.skip(f"{program} is not installed")


class Folder:
    """A short path of its own for the server's files, which belongs to the server's account.

    A Unix socket's path may have 107 characters, and pytest's folders are closed to others.
    """

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        give(self.path)

    def remove(self) -> None:
        remove(self.path)
        os.close(self._lock)


def sweep() -> None:
    """Removes the folders of test processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < STALE_SECONDS:
                continue
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        except OSError:
            pass  # it is in use
        finally:
            os.close(lock)


def remove(folder: Path) -> None:
    for mounted in folder.glob("*"):
        if mounted.is_mount():
            subprocess.run(["umount", "--lazy", mounted], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def give(path: Path) -> None:
    """Makes the server's account the owner: both programs refuse to run as root."""
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def command(*arguments: str | Path) -> list[str]:
    """The command under the server's account, ended at once when the test process is gone.

    What counts as gone is the thread that starts it: let that be the main thread.
    """
    account = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=QUIT", *account, *map(str, arguments)]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server takes connections; False when it has ended instead."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    raise TimeoutError(f"{process.args!r} takes no connections")
