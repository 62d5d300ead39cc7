"""What README.md and docs/ show is run: shell against a real server, Python against a model.

The folder is a checkout of its own, so that nothing reaches the instance of this one. What the
scripts do to make `.venv` is tested in test_setup.py, what pip does with the wheel in
test_package.py.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from benchmarks.processes import free_port
from tests.upstream import Upstream, upstream
from webapp.cli import switchboard

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
SERVERS = re.compile(r"scripts/dev\b(?!.*--help)|.*\bswitchboard (dev|serve)\b")
# Tested elsewhere, or what this very test is part of.
NOT_RUN = re.compile(r"scripts/test\b|.*hatchling build|.*/pip install|python3 -m venv")
# There need be no other shell here: that the words for it come out is seen.
OTHER_SHELL = re.compile(r"^(?:eval \"\$\()?(_\w+=(?:zsh|fish)_source switchboard).*$")
PASSWORD = "a long password for ada 2026\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the name of the file that the line before it says it is."""

    language: str
    text: str
    file: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.finditer(r"(?:^`([\w.]+)`:\n\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [Block(match[2], match[3], match[1] or "") for match in found]


@dataclass(slots=True)
class Reader:
    """Somebody who types what a page says, in a checkout, with another port and another model."""

    checkout: Path
    port: int
    environment: dict[str, str]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def type(self, block: Block) -> None:
        for line in block.text.replace("\\\n", " ").splitlines():
            command = OTHER_SHELL.sub(r"\1", line.partition(" #")[0].strip())
            if command and not command.startswith("#") and not NOT_RUN.match(command):
                self.run(command.replace("0.0.0.0:8080", f"127.0.0.1:{self.port}"))

    def run(self, command: str) -> None:
        command = command.replace(":8080", f":{self.port}")
        if SERVERS.match(command):
            self._serve(command)
            return
        # The exports of one line are there in the next.
        shell = (
            'set -euo pipefail\ncurl() { command curl -sS --fail-with-body "$@"; }\n'
            f"{command}\nenv -0 >exported"
        )
        done = subprocess.run(
            ["bash", "-c", shell],
            cwd=self.checkout,
            env=self.environment,
            input=PASSWORD,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        pairs = (self.checkout / "exported").read_text().split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if command.startswith("curl"):
            assert '"reply"' in done.stdout or '"output"' in done.stdout

    def _serve(self, command: str) -> None:
        self.end()
        words = shlex.split(command)
        if "--bind" not in words:
            words += ["--port", str(self.port)]
        self.servers.append(
            subprocess.Popen(
                words,
                cwd=self.checkout,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10):
                    return
            except OSError:
                assert self.servers[-1].poll() is None, command
                assert time.monotonic() < deadline, command
                time.sleep(0.05)

    def begin_anew(self) -> None:
        self.end()
        shutil.rmtree(self.checkout / "instance")
        (self.checkout / "instance").mkdir()

    def end(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        self.servers.clear()


@pytest.fixture
def model() -> Iterator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture
def reader(tmp_path: Path, model: Upstream) -> Iterator[Reader]:
    checkout = tmp_path / "switchboard"
    checkout.mkdir()
    for name in ("webapp", "templates", "static"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    (checkout / "instance").mkdir()
    programs = Path(sys.executable).parent
    (checkout / ".venv").symlink_to(programs.parent)
    (checkout / "switchboard" / "bin").mkdir(parents=True)  # the environment of installing.md
    (checkout / "switchboard" / "bin" / "switchboard").symlink_to(programs / "switchboard")
    (checkout / "scripts").mkdir()
    for name, words in (("dev", "dev "), ("switchboard", "")):
        script = checkout / "scripts" / name
        script.write_text(f'#!/bin/sh\nexec "{programs}/switchboard" {words}"$@"\n')
        script.chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SWITCHBOARD_", "OPENAI_", "PYTHON"))
        and not name.lower().endswith("_proxy")
    }
    somebody = Reader(
        checkout,
        free_port(),
        {
            **kept,
            "PYTHONPATH": str(checkout),
            "PATH": f"{programs}:{kept['PATH']}",
            "OPENAI_BASE_URL": model.base_url,
        },
    )
    yield somebody
    somebody.end()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_can_be_typed(page: str, reader: Reader, model: Upstream) -> None:
    if page != "README.md":
        reader.run("switchboard db upgrade")  # the other pages come after that one
        say_hello(reader, "user-a")
    for block in blocks(page):
        if block.language == "sh":
            if "instance/switchboard.env" in block.text:
                reader.begin_anew()  # it says: from a fresh clone
            reader.type(block)
        elif block.file:
            (reader.checkout / block.file).write_text(block.text)
        elif block.language == "python":
            program = subprocess.run(
                [sys.executable, "-W", "error", "-c", block.text],
                cwd=reader.checkout,
                env={**reader.environment, "OPENAI_API_KEY": "sk-test"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert program.returncode == 0, f"{block.text}\n{program.stderr}"
        else:
            assert block.language in ("", "json"), f"nobody runs a block of {block.language}"


def say_hello(reader: Reader, user_id: str) -> None:
    """A tenant that the page takes for granted."""
    program = (
        "from webapp.memory import SQLiteMemory\nfrom webapp.messages import Message\n"
        "memory = SQLiteMemory('instance/switchboard.db')\n"
        f"memory.add(Message.user('hello'), user_id={user_id!r})\nmemory.close()\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=reader.checkout, env=reader.environment, check=True
    )


def named_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", (ROOT / page).read_text(encoding="utf-8")):
            match = re.match(r"(?:\S*/)?switchboard ([a-z].*)", code)
            if match:
                found.append((page, match[1]))
    return found


def test_every_command_that_the_text_names_exists_with_its_options() -> None:
    named = named_commands()
    assert len(named) > 10
    for page, words in named:
        command: click.Command = switchboard
        context = click.Context(command)
        for word in re.split(r"\s+", words):
            if word.startswith("--"):
                options = {name for each in command.params for name in each.opts}
                assert word.partition("=")[0] in options, f"{page}: {words}"
            elif isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", word):
                inner = command.get_command(context, word)
                assert inner is not None, f"{page}: {words}"
                command = inner


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
                names = {
                    re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
                    for heading in headings
                }
                assert anchor in names, f"{page}: {target}"


# A path: `web/door.py`, `storage/`. Not an address (`/docs/`), nor what a reader would make.
PATH = re.compile(
    r"(?<![\w/.:{}~$-])(?:[\w-]+/)*(?:[\w.-]+\.(?:py|md|toml|jinja|html|css|js)|[\w-]+/)(?![\w/{])"
)
READERS_OWN = {"my_flows.py", "my_tools.py", "table.md", "dist/"}
MODULE = re.compile(r"\b((?:webapp|tests|benchmarks)(?:\.\w+)+)")
NAMING_PAGES = (*PAGES, "benchmarks/README.md", "templates/README.md")


def named_paths(page: str) -> set[str]:
    """The files and folders that a page names, in the text as in its pictures."""
    text = (ROOT / page).read_text(encoding="utf-8")
    pictures = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    named = [*pictures, *re.findall(r"`([^`\n]+)`", prose)]
    return {path for each in named for path in PATH.findall(each)} - READERS_OWN


def there() -> set[str]:
    """Every file of the checkout, and every folder with a slash at its end."""
    found = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = {Path(line) for line in found.stdout.splitlines()}
    folders = {folder for file in files for folder in file.parents if folder != Path()}
    return {str(file) for file in files} | {f"{folder}/" for folder in folders}


def test_every_file_that_a_page_names_exists() -> None:
    known = there()
    wrong = [
        f"{page}: {path}"
        for page in NAMING_PAGES
        for path in sorted(named_paths(page))
        if not any(f"/{each}".endswith(f"/{path}") for each in known)
    ]
    assert len(named_paths("docs/architecture.md")) > 40
    assert wrong == []


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_every_module_that_a_page_names_exists_with_what_is_named_in_it() -> None:
    for page in NAMING_PAGES:
        for name in MODULE.findall((ROOT / page).read_text(encoding="utf-8")):
            module, attributes = name, list[str]()
            while not is_module(module):
                module, _, attribute = module.rpartition(".")
                attributes.insert(0, attribute)
            # Only what names something inside is imported: a benchmark may patch when it is.
            found: object = importlib.import_module(module) if attributes else None
            for attribute in attributes:
                found = getattr(found, attribute)
