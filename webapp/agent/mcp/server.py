"""Which server is meant, and how its tools are used; plain values, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from webapp.agent.parts import is_text
from webapp.errors import ConfigurationError

DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class StdioServer:
    """A server that is started as a process. Of the environment it is given the few variables that
    every program needs, and `env`."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None

    @property
    def kind(self) -> str:
        return "stdio"


@dataclass(frozen=True, slots=True)
class HTTPServer:
    """A server at an address, reached by streamable HTTP."""

    url: str = field(repr=False)  # it may hold a key
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        return "http"


@dataclass(frozen=True, slots=True)
class Use:
    """How a server's tools are used.

    `prefix` goes before their names. Of the server's tools those of `include` are used, or all, and
    never those of `exclude`. A call takes no longer than `timeout` seconds. `send_user` tells the
    server, in `_meta`, whose turn it is. The calls of all tools, or of some, can need a person's
    approval.
    """

    prefix: str = ""
    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    timeout: float = DEFAULT_TIMEOUT
    send_user: bool = False
    requires_approval: bool | frozenset[str] = False

    def needs_approval(self, tool: str) -> bool:
        """Whether a person has to approve a call of the server's tool of this name."""
        if isinstance(self.requires_approval, bool):
            return self.requires_approval
        return tool in self.requires_approval


def use_of(
    *,
    prefix: str = "",
    include_tools: Iterable[str] | None = None,
    exclude_tools: Iterable[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    send_user: bool = False,
    requires_approval: bool | Iterable[str] = False,
) -> Use:
    """How tools are used; raises `ConfigurationError` for values that cannot be."""
    if not is_text(prefix):
        raise ConfigurationError("prefix must be a text.")
    some = () if isinstance(requires_approval, bool) else requires_approval
    for name, value in (
        ("include_tools", include_tools),
        ("exclude_tools", exclude_tools),
        ("requires_approval", some),
    ):
        if is_text(value) or not all(map(is_text, value or ())):
            raise ConfigurationError(f"{name} must be a list of names.")
    if not _is_number(timeout) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise ConfigurationError(
            f"timeout must be more than 0 and at most {LONGEST_TIMEOUT:g} seconds."
        )
    return Use(
        prefix=prefix,
        include=None if include_tools is None else frozenset(include_tools),
        exclude=frozenset(exclude_tools),
        timeout=float(timeout),
        send_user=bool(send_user),
        requires_approval=bool(requires_approval) if not some else frozenset(some),
    )


def checked_url(url: str) -> str:
    """Raises `ConfigurationError` for what is not an address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, AttributeError, TypeError):
        good = False
    if not good or any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigurationError("url must be an address such as https://example.org/mcp.")
    return url


def texts(name: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Names and values that can be an environment or headers."""
    given = dict(values or {})
    for each in (word for pair in given.items() for word in pair):
        if not is_text(each) or "\0" in each or (name == "headers" and not each.isprintable()):
            raise ConfigurationError(f"{name} must hold texts alone, without control characters.")
    return given


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
