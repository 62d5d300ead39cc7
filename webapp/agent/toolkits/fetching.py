"""Fetches one web address as text, from an address that was checked; follows nothing.

A name is looked up once, and the connection goes to what was found and checked: a name server that
answers otherwise the next moment (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote

from webapp.agent.http.call import Call
from webapp.agent.http.names import Address, Names
from webapp.agent.tools import ToolError
from webapp.deadline import Deadline
from webapp.turns import Cancellation
from webapp.version import __version__

LOOK_SECONDS = 0.1
TEXT_TYPES = ("application/json", "application/xml", "application/javascript", "application/yaml")
_UNQUOTED = "!#$%&'()*+,/:;=?@[]~"
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: its text, or where it sends one to."""

    text: str
    location: str = ""


class Fetcher:
    """Fetches from addresses that `is_allowed` lets through."""

    def __init__(self, is_allowed: Callable[[str], bool], max_bytes: int) -> None:
        self._is_allowed = is_allowed
        self._max_bytes = max_bytes
        self._names = Names()

    def get(self, url: SplitResult, host: str, deadline: Deadline, cancel: Cancellation) -> Page:
        """Raises `ToolError` with a sentence for the model."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = self._names.find(host, port, Call(cancel, deadline), deadline.left)
        except (OSError, UnicodeError):
            raise ToolError(f"The host {host} cannot be found.") from None
        # One that is not allowed spoils all: which is used would be the name server's choice.
        if not all(self._is_allowed(place[0]) for _, place in found):
            raise ToolError(f"{host} is not a public address.")
        try:
            with _connected(url.scheme, host, found[0], deadline, cancel) as sock:
                return self._asked(sock, url, host, deadline)
        except TimeoutError:
            raise ToolError(f"{host} did not answer in time.") from None
        except (OSError, http.client.HTTPException, ValueError):
            raise ToolError(f"{host} could not be read.") from None

    def _asked(self, sock: socket.socket, url: SplitResult, host: str, deadline: Deadline) -> Page:
        connection = http.client.HTTPConnection(host)
        connection.sock = sock
        target = quote((url.path or "/") + (f"?{url.query}" if url.query else ""), safe=_UNQUOTED)
        headers = {
            "Host": _host_header(url, host),
            "User-Agent": f"switchboard/{__version__}",
            "Accept": "text/*, application/json, application/xml;q=0.9",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status in REDIRECTS:
            return Page("", answer.headers.get("Location", ""))
        if not 200 <= answer.status < 300:
            raise ToolError(f"{host} answered with the status {answer.status}.")
        kind = answer.headers.get_content_type()
        if not (kind.startswith("text/") or kind in TEXT_TYPES or kind.endswith(("+json", "+xml"))):
            raise ToolError(f"{host} answered with {kind[:100]}, which is not text.")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ToolError(f"{host} answered with packed text, which was not asked for.")
        return Page(self._text(answer, deadline))

    def _text(self, answer: http.client.HTTPResponse, deadline: Deadline) -> str:
        body = bytearray()
        while len(body) <= self._max_bytes:
            piece = answer.read1(self._max_bytes + 1 - len(body))
            if not piece:
                break
            if deadline.passed:
                raise TimeoutError
            body += piece
        if answer.length and len(body) <= self._max_bytes:
            raise http.client.IncompleteRead(bytes(body))
        text = _decoded(bytes(body[: self._max_bytes]), answer.headers.get_content_charset("utf-8"))
        if len(body) > self._max_bytes:
            text += f"\n[cut: only the first {self._max_bytes:,} bytes are here]"
        return text


def _host_header(url: SplitResult, host: str) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if url.port is None else f"{name}:{url.port}"


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


@contextmanager
def _connected(
    scheme: str, host: str, address: Address, deadline: Deadline, cancel: Cancellation
) -> Iterator[socket.socket]:
    """A connection that is shut when its time is over, however slowly the other side speaks."""
    family, place = address
    plain = socket.socket(family, socket.SOCK_STREAM)
    done = threading.Event()
    late = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            if deadline.passed or cancel.is_set():
                late.set()
                # Again and again: while it is wrapped, none is there to be shut.
                with _ignored():
                    # Not the method of a TLS socket, which would first take the session away.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    sock: socket.socket = plain
    try:
        plain.settimeout(max(0.001, deadline.left))
        threading.Thread(target=watch, name="http_get", daemon=True).start()
        plain.connect(place)
        if scheme == "https":
            # The watcher must have the socket before the handshake, which may take for ever.
            sock = secured = _trusted().wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
            secured.do_handshake()
        yield sock
        if late.is_set():
            raise TimeoutError  # a body without a length looks whole
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        done.set()
        sock.close()
        plain.close()


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except OSError:
        pass  # it is closed already


@functools.cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()
