"""Makes toolkits of the MCP servers that a setting lists, with what the environment holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from webapp.agent import MCPToolkit
from webapp.agent.mcp.server import HTTPServer, StdioServer, checked_url, texts, use_of
from webapp.environment import environment
from webapp.errors import ConfigurationError
from webapp.mcp_setting import ServerEntry
from webapp.settings_file import read_text, why

SETTING = "SWITCHBOARD_MCP_SERVERS"
# These are this server's own, and no business of another's program.
_OWN = ("SWITCHBOARD_", "OPENAI_API_KEY")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_NAMED = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.S)


def mcp_toolkits(
    entries: Sequence[ServerEntry], environ: Mapping[str, str] | None = None
) -> tuple[MCPToolkit, ...]:
    """A toolkit for each server, connected to nothing yet.

    `${NAME}` stands for the variable `NAME`, or for what is in the file that `NAME_FILE` names, and
    `${NAME:-text}` for the text when there is neither. Raises `ConfigurationError` with a sentence
    for each server that cannot be.
    """
    found, faults = [], []
    for entry in entries:
        try:
            fill = _Filling(environment() if environ is None else environ)
            found.append(_toolkit(entry, fill))
        except ConfigurationError as error:
            faults.append(f"{SETTING} is wrong: the server {entry.name}: {error.message}")
    if faults:
        raise ConfigurationError(" ".join(faults))
    return tuple(found)


def _toolkit(entry: ServerEntry, fill: _Filling) -> MCPToolkit:
    use = use_of(
        prefix=entry.prefix,
        include_tools=entry.include_tools,
        exclude_tools=entry.exclude_tools,
        timeout=entry.timeout,
        send_user=entry.send_user,
        requires_approval=entry.requires_approval,
    )
    return MCPToolkit(entry.name, _server(entry, fill), use)


def _server(entry: ServerEntry, fill: _Filling) -> StdioServer | HTTPServer:
    if entry.type == "http":
        headers = {name: fill.text(value) for name, value in entry.headers.items()}
        return HTTPServer(checked_url(fill.text(entry.url)), texts("headers", headers))
    env = {name: fill.text(value) for name, value in entry.env.items()}
    return StdioServer(
        fill.text(entry.command),
        tuple(map(fill.text, entry.args)),
        texts("env", env),
        None if entry.cwd is None else fill.text(entry.cwd),
    )


def import_package() -> None:
    """Imports what connections need, which takes most of a second in which nothing else is done."""
    import webapp.agent.mcp.connection  # noqa: F401 - to be loaded is all it is for


class _Filling:
    """Puts values of the environment in the place of references to them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, written: str) -> str:
        return _REFERENCE.sub(lambda found: self._value(found[1]), written)

    def _value(self, reference: str) -> str:
        match = _NAMED.fullmatch(reference)
        if match is None:
            raise ConfigurationError(
                f"${{{reference[:60]}}} cannot be filled in; write ${{NAME}} for a variable."
            )
        name, otherwise = match[1], match[2]
        if name.startswith(_OWN):
            raise ConfigurationError(
                f"${{{name}}} is a secret or a setting of Switchboard; give the server one of its"
                " own, under another name."
            )
        if name in self._environ:
            return self._environ[name]
        if f"{name}_FILE" in self._environ:
            return self._file(name, self._environ[f"{name}_FILE"])
        if otherwise is not None:
            return otherwise
        raise ConfigurationError(f"neither {name} nor {name}_FILE is set, which ${{{name}}} names.")

    def _file(self, name: str, path: str) -> str:
        try:
            return read_text(Path(path)).strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{name}_FILE names a file that cannot be read ({why(error)})."
            ) from None
