"""Reading public web addresses, as a tool: only allowed hosts, and never a private address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from webapp.agent.run_context import RunContext
from webapp.agent.toolkits.addresses import is_public
from webapp.agent.toolkits.fetching import Fetcher
from webapp.agent.tools import ToolError, Toolkit, tool
from webapp.deadline import Deadline

TIMEOUT_SECONDS = 15.0
MAX_BYTES = 256 * 1024
MAX_REDIRECTS = 3
MAX_URL_CHARS = 2000


def http_get(
    allowed_hosts: Sequence[str] = (),
    *,
    timeout: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
    is_allowed_address: Callable[[str], bool] = is_public,
) -> Toolkit:
    """The tool http_get, which reads text from `allowed_hosts`; without any it reads nothing.

    A host is a name, `.example.org` for it and all below it, or `*` for every public host. What a
    name resolves to must be allowed by `is_allowed_address`, for each redirect anew.
    """
    hosts = tuple(host.lower().rstrip(".") for host in allowed_hosts)
    fetcher = Fetcher(is_allowed_address, max_bytes)

    @tool(name="http_get", timeout=timeout + 1)
    def get(url: str, context: RunContext) -> str:
        """Read the text at a public web address.

        Args:
            url: the whole address, beginning with https:// or http://
        """
        deadline = Deadline.after(timeout) or context.deadline
        for _ in range(MAX_REDIRECTS + 1):
            parts, host = _checked(url, hosts)
            page = fetcher.get(parts, host, _sooner(deadline, context), _Cancelled(context))
            if not page.location:
                return page.text
            url = urljoin(url, page.location)
        raise ToolError(f"There were more than {MAX_REDIRECTS} redirects.")

    return Toolkit("http_get", (get,))


class _Cancelled:
    """The call's cancellation, also where the run has none."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def is_set(self) -> bool:
        return self._context.cancelled


def _sooner(deadline: Deadline | None, context: RunContext) -> Deadline:
    both = [each for each in (deadline, context.deadline) if each is not None]
    return min(both, key=lambda each: each.at)


def _checked(url: str, hosts: Sequence[str]) -> tuple[SplitResult, str]:
    """The address and its host's name in ASCII; raises `ToolError`."""
    if len(url) > MAX_URL_CHARS:
        raise ToolError(f"The address is longer than {MAX_URL_CHARS} characters.")
    # What some readers leave out and others do not would be another host for each of them.
    if any(letter <= " " or letter in "\\\x7f" for letter in url):
        raise ToolError("The address holds a blank, a control character or a backslash.")
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
        host = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise ToolError("That is not a web address.") from None
    if parts.scheme not in ("http", "https") or not host or "%" in host:
        raise ToolError("Only addresses that begin with https:// or http:// can be read.")
    if "@" in parts.netloc:
        raise ToolError("The address holds a user name, which is not sent.")
    if not any(_fits(host, pattern) for pattern in hosts):
        allowed = f"; allowed are {', '.join(hosts)}" if hosts else "; no host is"
        raise ToolError(f"The host {host[:253]} is not allowed{allowed}.")
    return parts, host


def _fits(host: str, pattern: str) -> bool:
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return pattern in ("*", host)
