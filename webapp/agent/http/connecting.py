"""Opens connections to the model's server, TLS included, within a time; sends nothing on them."""

from __future__ import annotations

import socket
import ssl
import time

import httpx2

from webapp.agent.http.call import Call
from webapp.agent.http.connection import Connection, Origin
from webapp.agent.http.names import Names
from webapp.agent.http.watchdog import Watchdog

NO_LIMIT = 3600.0


class Connector:
    """Opens connections; what it has learned of names and certificates serves all of them."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._names = Names()
        self._context: ssl.SSLContext | None = None

    def connect(self, origin: Origin, call: Call, seconds: float | None) -> Connection:
        """A connection that the watchdog watches for the call.

        Raises `httpx2.ConnectTimeout` and `httpx2.ConnectError`.
        """
        scheme, host, port = origin
        end = time.monotonic() + (NO_LIMIT if seconds is None else seconds)
        sock: socket.socket | None = None
        try:
            sock = self._open(host, port, call, end)
            if scheme == "https":
                sock = self._secure(sock, host, call, end)
        except OSError as error:
            self._watchdog.leave(call)
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError) or (call.is_over() and not call.called_off):
                raise httpx2.ConnectTimeout("no connection in time") from error
            raise httpx2.ConnectError("no connection") from error
        return Connection(sock)

    def _open(self, host: str, port: int, call: Call, end: float) -> socket.socket:
        """The first address that takes us; each has its share of the time that is left."""
        addresses = self._names.find(host, port, call, end - time.monotonic())
        for number, (family, place) in enumerate(addresses, start=1):
            left = end - time.monotonic()
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.001, left / (len(addresses) - number + 1)))
                self._watchdog.watch(call, sock)
                sock.connect(place)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                self._watchdog.leave(call)
                sock.close()
                if number == len(addresses) or call.is_over():
                    raise
            else:
                return sock
        raise OSError("no address")

    def _secure(self, plain: socket.socket, host: str, call: Call, end: float) -> socket.socket:
        """The handshake is watched: byte by byte it would outlast the time-out of each read."""
        self._context = self._context or httpx2.create_ssl_context()
        sock = self._context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        try:
            self._watchdog.watch(call, sock)
            sock.settimeout(max(0.001, end - time.monotonic()))
            sock.do_handshake()
        except BaseException:
            self._watchdog.leave(call)
            sock.close()
            raise
        return sock
