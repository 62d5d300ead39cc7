"""A server's process and its end: it never outlives the program that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess  # nosec B404  # what the operator named is started
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from webapp.agent.event_loop import aside
from webapp.environment import environment

# Of the program's own environment a server is given these alone: the rest may be secrets.
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ"),
    *("LANG", "LC_ALL", "LC_CTYPE"),
)
LEAVE_SECONDS = 2.0  # after its input has ended
ASK_SECONDS = 2.0  # after it was asked to end
LOOK_SECONDS = 0.02

_GUARDIAN = Path(__file__).with_name("guardian.py")


class Child:
    """A process in a group of its own, with a pipe to each of its three standard files.

    Used on the event loop alone.
    """

    def __init__(
        self, command: str, arguments: Sequence[str], env: Mapping[str, str], folder: str | None
    ) -> None:
        """Starts it. Raises `OSError`, or `ValueError` for a NUL in a word."""
        theirs_in, self._stdin = os.pipe()
        self._stdout, theirs_out = os.pipe()
        self._stderr, theirs_err = os.pipe()
        own = (self._stdin, self._stdout, self._stderr)
        try:
            with aside():
                self._process = subprocess.Popen(  # nosec B603  # noqa: S603 - the operator's choice
                    [command, *arguments],
                    stdin=theirs_in,
                    stdout=theirs_out,
                    stderr=theirs_err,
                    env={**inherited(), **env},
                    cwd=folder,
                    start_new_session=True,
                )
        except BaseException:
            for descriptor in own:
                os.close(descriptor)
            raise
        finally:
            for descriptor in (theirs_in, theirs_out, theirs_err):
                os.close(descriptor)
        with aside():
            GUARDIAN.began(self._process.pid)

    @property
    def ended(self) -> bool:
        """Whether the process itself has ended; others of its group may live."""
        return self._process.poll() is not None

    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """The pipes to its input, and from its output and its errors; whoever asks closes them."""
        return (
            open(self._stdin, "wb", buffering=0),  # noqa: PTH123 - closed by their transports
            open(self._stdout, "rb", buffering=0),  # noqa: PTH123 - as above
            open(self._stderr, "rb", buffering=0),  # noqa: PTH123 - as above
        )

    async def stop(self, *, patient: bool) -> None:
        """Ends the process, whose input has ended, and all of its group; takes no more than a few
        seconds."""
        try:
            if not await self._gone(LEAVE_SECONDS if patient else 0):
                self._signal(signal.SIGTERM)
                await self._gone(ASK_SECONDS)
        finally:
            # Also what it has started, when it went by itself and they did not.
            self._signal(signal.SIGKILL)
            with aside():
                GUARDIAN.ended(self._process.pid)
        await self._gone(ASK_SECONDS)

    async def _gone(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.ended:
            if loop.time() >= until:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except OSError:
            pass  # the group is gone


def inherited() -> dict[str, str]:
    """What a server is given of this program's environment."""
    own = environment()
    return {name: own[name] for name in INHERITED if name in own}


class Guardian:
    """The process that ends the servers when this one has died; there is one while it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def began(self, group: int) -> None:
        """This group is to end with the program."""
        with self._lock:
            if self._owner != os.getpid():  # in a fork: the groups are its parent's
                self._process, self._owner = None, os.getpid()
                self._groups = set()
            self._groups.add(group)
            if self._process is None or not self._tell(f"+{group}\n"):
                self._start()

    def ended(self, group: int) -> None:
        """This group has ended."""
        with self._lock:
            self._groups.discard(group)
            if self._process is not None:
                self._tell(f"-{group}\n")
                if not self._groups:
                    self._leave(self._process)
                    self._process = None

    def _start(self) -> None:
        self._process = subprocess.Popen(  # nosec B603  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", str(_GUARDIAN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=inherited(),
            start_new_session=True,
            bufsize=0,
        )
        for group in self._groups:
            self._tell(f"+{group}\n")

    def _tell(self, line: str) -> bool:
        process = self._process
        if process is None or process.stdin is None or process.poll() is not None:
            return False
        try:
            process.stdin.write(line.encode())
        except OSError:
            return False
        return True

    @staticmethod
    def _leave(process: subprocess.Popen[bytes]) -> None:
        """It ends when its input does, at once, for it has nothing to end."""
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


GUARDIAN = Guardian()
