"""`switchboard chat`: talk to the agent in the terminal; the HTTP of it is in chat_client.py."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any, TypeAlias

import click

from webapp.cli.chat_client import ChatClient
from webapp.cli.output import examples
from webapp.cli.parameters import SESSION_ID, USER_ID
from webapp.cli.text import WordWrap, readable, visible
from webapp.errors import ConfigurationError, SwitchboardError
from webapp.setting_kinds import header_value
from webapp.settings import client_settings
from webapp.settings_file import read_text, why

PendingCalls: TypeAlias = list[dict[str, Any]]

DEFAULT_URL = "http://127.0.0.1:8080"
QUIT = ("/exit", "/quit")
HELP = "Ctrl-C stops an answer; Ctrl-C, Ctrl-D or /exit at the prompt ends it."


@click.command(
    name="chat",
    epilog=examples(
        "switchboard chat user-a",
        "switchboard chat user-a --session invoices",
        "switchboard chat user-a --url https://chat.example.org --key-file backend.key",
        "SWITCHBOARD_API_KEY=… switchboard chat user-a --cacert company-ca.pem",
        "echo 'What is my name?' | switchboard chat user-a",
    ),
)
@click.argument("user_id", type=USER_ID)
@click.option("--url", help=f"Else SWITCHBOARD_URL, else {DEFAULT_URL}.")
@click.option("--key", help="A key or a token, for all users of this machine to see; better:")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that holds the key; else SWITCHBOARD_API_KEY. `dev` needs none.",
)
@click.option(
    "--cacert",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificates to trust for https, in PEM; else those of the system or SSL_CERT_FILE.",
)
@click.option("--session", "session_id", type=SESSION_ID, help="The session's id, else default.")
def command(
    user_id: str,
    url: str | None,
    key: str | None,
    key_file: Path | None,
    cacert: Path | None,
    session_id: str | None,
) -> None:
    """Talks to the agent as USER_ID. Ctrl-C stops an answer; Ctrl-D or /exit ends the talk.

    Without a terminal each line of standard input is a message.
    """
    known_url, known_key = client_settings()
    client = ChatClient(
        url or known_url or DEFAULT_URL, _key(key, key_file, known_key), cacert=cacert
    )
    body: dict[str, Any] = {"user_id": user_id, "stream": True}
    if session_id is not None:
        body["session_id"] = session_id
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin.isatty():
        _talk(client, body, key_shown=key is not None)
    else:
        _answer_lines(client, body)


def _key(key: str | None, key_file: Path | None, known: str | None) -> str | None:
    """The key, from the first place that has one."""
    source = "--key"
    if key is None and key_file is not None:
        source = str(key_file)
        try:
            key = read_text(key_file).strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{key_file} cannot be read ({why(error)}).") from None
        if not key:
            raise ConfigurationError(f"{key_file} is empty; it must hold a key.")
    elif key is None:
        source, key = "SWITCHBOARD_API_KEY", known
    try:
        return None if key is None else header_value(key.strip())
    except ValueError as error:
        raise ConfigurationError(f"The key in {source} {error}.") from None


def _talk(client: ChatClient, body: dict[str, Any], *, key_shown: bool) -> None:
    _edit_lines()
    click.echo(HELP, err=True)
    if key_shown:
        click.echo(
            "Other users of this machine can read --key in the list of processes;"
            " --key-file or SWITCHBOARD_API_KEY keep it to yourself.",
            err=True,
        )
    while True:
        try:
            message = click.prompt("You", prompt_suffix="> ", default="", show_default=False)
        except (click.Abort, EOFError):
            click.echo()
            return
        if message.strip() in QUIT:
            return
        if message.strip():
            try:
                _decided(client, body, _turn(client, {**body, "message": message}))
            except SwitchboardError as error:
                click.echo(error.message, err=True)
            except KeyboardInterrupt:
                # Closing the connection has ended the turn at the server as well.
                click.echo("\n[stopped; nothing of this turn is kept]", err=True)


def _answer_lines(client: ChatClient, body: dict[str, Any]) -> None:
    for line in sys.stdin:
        message = line.rstrip("\r\n")
        if message.strip() and _turn(client, {**body, "message": message}) is None:
            sys.exit(1)


def _decided(client: ChatClient, body: dict[str, Any], calls: PendingCalls | None) -> None:
    """Asks about the calls that wait, and goes on with the turn until none does."""
    while calls:
        try:
            approvals = [
                {
                    "call_id": call["id"],
                    "approved": click.confirm(f"Run {_written(call)}?", default=False, err=True),
                }
                for call in calls
            ]
        except click.Abort:
            click.echo("\n[undecided; the next message refuses it]", err=True)
            return
        calls = _turn(client, {**body, "approvals": approvals})


def _written(call: dict[str, Any]) -> str:
    arguments = json.dumps(call.get("arguments", {}), ensure_ascii=False)
    return visible(f"{call['name']} {arguments}")


def _turn(client: ChatClient, body: dict[str, Any]) -> PendingCalls | None:
    """Prints the answer as it comes; gives the calls that wait for approval, None for no answer."""
    wrap = WordWrap(shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    for name, data in client.events(body):
        if name == "delta":
            text = readable(data["text"])
            click.echo(text if wrap is None else wrap.feed(text), nl=False)
        elif name == "tool" and data["status"] == "started":
            click.echo(f"[{visible(data['name'])}] ", nl=False, err=True)
        elif name in ("done", "error"):
            click.echo("" if wrap is None else wrap.flush())
            if name == "error":
                click.echo(readable(data["error"]), err=True)
                return None
            if data.get("finish_reason") == "length":
                click.echo("[cut: the model's limit of length was reached]", err=True)
            calls: PendingCalls = data.get("pending_calls", [])
            for call in calls:
                click.echo(f"[waits for approval: {_written(call)}]", err=True)
            return calls
    click.echo("" if wrap is None else wrap.flush())
    click.echo("The answer broke off.", err=True)
    return None


def _edit_lines() -> None:
    """Arrow keys and a history at the prompt, where the system has them."""
    try:
        import readline  # noqa: F401  # importing it is what turns it on
    except ImportError:
        return
