"""nginx and HAProxy with the configurations of deploy/, on ports of a test's own; no test."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from tests.fakes import until
from tests.server.test_start_and_stop import is_listening

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def program(name: str) -> str:
    """Where it is; the test is skipped, or fails on a build machine, where it is missing."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join((beside, os.environ["PATH"], "/usr/sbin")))
    if found is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is missing")
    return found


def certificate(folder: Path) -> Path:
    """A certificate of its own name, with its key, in one file as HAProxy wants it."""
    key, made, both = (folder / name for name in ("key.pem", "made.pem", "both.pem"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(made.read_text() + key.read_text())
    return both


class Proxy:
    """One proxy in front of servers on these ports of this machine."""

    def __init__(self, kind: str, folder: Path, pem: Path, ports: Sequence[int]) -> None:
        self.kind = kind
        self.port = free_port()
        self.pem = pem
        self.configuration = folder / "proxy.conf"
        self.log = folder / "proxy.log"
        changes = {
            "127.0.0.1:8081": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8082": f"127.0.0.1:{ports[1]}",
        }
        plain = free_port()
        if kind == "nginx":
            name = "nginx.conf"
            changes |= {
                "/etc/nginx/tls/switchboard.pem": str(pem),
                "/etc/nginx/tls/switchboard.key": str(pem),
                "    listen [::]:80;\n": "",
                "    listen [::]:443 ssl http2;\n": "",
                "listen 80;": f"listen 127.0.0.1:{plain};",
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            }
            frame = (
                f"daemon off; pid {folder}/pid; error_log {self.log} info; events {{}}\n"
                f"http {{ access_log off; client_body_temp_path {folder}/body;"
                f" proxy_temp_path {folder}/kept;\n%s}}\n"
            )
        else:
            name, frame = "haproxy.cfg", "%s"
            changes |= {
                "/etc/haproxy/tls/switchboard.pem": str(pem),
                "/run/haproxy/admin.sock": str(folder / "admin.sock"),
                "bind :80\n": f"bind 127.0.0.1:{plain}\n",
                "bind :443": f"bind 127.0.0.1:{self.port}",
            }
        text = (DEPLOY / name).read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        self.configuration.write_text(frame % text)

    @property
    def check_arguments(self) -> list[str]:
        return (["-t"] if self.kind == "nginx" else ["-c"]) + self._arguments

    @property
    def _arguments(self) -> list[str]:
        return ["-c" if self.kind == "nginx" else "-f", str(self.configuration)]

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.pem))

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        with self.log.open("ab") as printed:
            process = subprocess.Popen(
                [program(self.kind), *self._arguments], stdout=printed, stderr=printed
            )
        try:
            until(lambda: is_listening(self.port), 10)
            yield self
        finally:
            process.terminate()
            process.wait(10)
