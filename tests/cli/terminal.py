"""A real terminal around a real command: a pty in which the tests type and read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

SWITCHBOARD = str(Path(sys.executable).parent / "switchboard")
PATIENCE_SECONDS = 60.0
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`switchboard …` with a terminal of so many columns as its input and output."""

    def __init__(self, *arguments: str, env: Mapping[str, str], columns: int = 80) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.process = subprocess.Popen(
            # The terminal becomes the session's own, so that Ctrl-C typed into it is a signal.
            ["setsid", "--ctty", SWITCHBOARD, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**inherited, "TERM": "xterm", "LANG": "C.UTF-8", **env},
        )
        os.close(theirs)
        self._raw = b""
        self._seen = 0

    @property
    def text(self) -> str:
        """All that was shown so far, with plain line breaks and without colours."""
        text = self._raw.decode("utf-8", "replace").replace("\r\n", "\n")
        return _STEERING.sub("", text)

    def enter(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def expect(self, words: str) -> str:
        """Waits until these words come after those that were expected before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.text.find(words, self._seen)) < 0:
            assert time.monotonic() < deadline, f"{words!r} did not come: {self.text!r}"
            assert self._read(0.1) or self.process.poll() is None, f"it ended: {self.text!r}"
        self._seen = found + len(words)
        return self.text

    def end(self, *, typing: str = "") -> int:
        """Waits for the command's end; gives its status.

        `typing` is typed again each second, as people do: a Ctrl-C that comes between a prompt
        and the reading of its answer is only noticed with the next key.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        again = time.monotonic()
        while self.process.poll() is None:
            if typing and time.monotonic() >= again:
                self.enter(typing)
                again = time.monotonic() + 1
            self._read(0.05)
            assert time.monotonic() < deadline, f"it goes on: {self.text!r}"
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._own], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._own, 65536)
        except OSError:  # Linux says so when the other side has gone
            return False
        self._raw += piece
        return bool(piece)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._own)
