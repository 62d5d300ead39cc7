"""`switchboard chat`: talk to the agent in the terminal, over HTTP as any client does."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from webapp.errors import ConfigurationError, SwitchboardError

LINE_BREAKS_KEPT = {"\n", "\t"}


@click.command(name="chat")
@click.argument("user_id")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True)
@click.option("--key", default=None, help="A key or a token; `dev` needs none.")
@click.option("--session", "session_id", default=None, help="A session's name.")
def command(user_id: str, url: str, key: str | None, session_id: str | None) -> None:
    """Talks to the agent as USER_ID; an empty line or Ctrl-D ends it."""
    interactive = sys.stdin.isatty()
    while True:
        try:
            message = click.prompt("You", prompt_suffix="> ") if interactive else _line()
        except (click.Abort, EOFError):
            break
        if not message.strip():
            break
        body: dict[str, Any] = {"user_id": user_id, "message": message, "stream": True}
        if session_id is not None:
            body["session_id"] = session_id
        if not _turn(url, key, body) and not interactive:
            sys.exit(1)


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _turn(url: str, key: str | None, body: dict[str, Any]) -> bool:
    """Prints the answer as it comes; False when there was none."""
    for name, data in _events(url, key, body):
        if name == "delta":
            click.echo(_shown(data["text"]), nl=False)
        elif name == "tool" and data["status"] == "started":
            click.echo(f"[{_shown(data['name'])}] ", nl=False, err=True)
        elif name == "done":
            click.echo()
            return True
        elif name == "error":
            click.echo()
            click.echo(_shown(data["error"]), err=True)
            return False
    click.echo("The answer broke off.", err=True)
    return False


def _events(url: str, key: str | None, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("--url must look like http://127.0.0.1:8080.")
    https = parts.scheme == "https"
    kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=600)
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        payload = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape")
        connection.request("POST", f"{parts.path.rstrip('/')}/chat", payload, headers)
        response = connection.getresponse()
        if response.status != 200:
            yield "error", _error_of(response)
            return
        name = ""
        for raw in response:
            line = raw.decode("utf-8").rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))
    except (OSError, http.client.HTTPException) as error:
        raise SwitchboardError(f"{url} cannot be reached; is Switchboard running?") from error
    finally:
        connection.close()


def _error_of(response: http.client.HTTPResponse) -> dict[str, str]:
    try:
        return {"error": str(json.loads(response.read())["error"])}
    except (ValueError, KeyError, TypeError):
        return {"error": f"The server answered {response.status}."}


def _shown(text: str) -> str:
    """Without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() or c in LINE_BREAKS_KEPT else "�" for c in text)
