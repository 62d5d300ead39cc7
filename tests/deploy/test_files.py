"""What stands in deploy/ is understood by the programs that it is for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.proxies import DEPLOY, Proxy, certificate, program

ROOT = DEPLOY.parent
EXPOSURE = re.compile(r"Overall exposure level for \S+: (\d+\.\d)")


def run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_container_file_is_without_a_fault() -> None:
    assert run("hadolint", DEPLOY / "Dockerfile") == ""


def test_the_compose_file_fits_its_schema() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_image_gets_what_it_copies_and_nothing_of_the_instance() -> None:
    taken = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert {name for names in copied for name in names.split()} == taken
    assert all((ROOT / name).exists() for name in taken)
    assert "instance" not in taken


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_a_proxys_configuration_is_understood(kind: str, tmp_path: Path) -> None:
    proxy = Proxy(kind, tmp_path, certificate(tmp_path), [8081, 8082])
    run(kind, *proxy.check_arguments)


def test_the_two_configurations_of_nginx_differ_by_the_names_alone() -> None:
    site = (DEPLOY / "nginx.conf").read_text()
    compose = (DEPLOY / "nginx-compose.conf").read_text()
    for one, other in (
        ("127.0.0.1:8081", "one:8080"),
        ("127.0.0.1:8082", "two:8080"),
        ("switchboard.example.org", "_"),
    ):
        site = site.replace(one, other)
    assert site.split("upstream", 1)[1] == compose.split("upstream", 1)[1]


def test_the_unit_is_understood_and_exposes_little(tmp_path: Path) -> None:
    text = (DEPLOY / "switchboard@.service").read_text()
    unit = tmp_path / "switchboard@.service"
    unit.write_text(text.replace("/opt/switchboard/bin/switchboard", "/bin/true"))
    assert "switchboard@" not in run("systemd-analyze", "verify", unit)
    told = run("systemd-analyze", "security", "--offline=true", unit)
    level = EXPOSURE.search(told)
    assert level is not None
    assert float(level[1]) <= 1.5
