"""Closes listening sockets without resetting a connection that the kernel has made already.

Between the last look for connections and the close, the kernel may make one more: its client has
been told that it is connected, sends a request, and gets a reset, which no proxy may answer by
sending a POST elsewhere. So the kernel is told first to make no new ones. Whoever asks in that
moment asks again a second later, as TCP does by itself, and is refused plainly.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

_SO_ATTACH_FILTER = 26  # Linux; Python has no name for it
# A program of the classic packet filter, over the TCP header: what has SYN and no ACK is dropped.
_DROP_NEW = (
    (0x30, 0, 0, 13),  # the flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of them
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
)


def make_no_new_connections(listeners: Iterable[socket.socket]) -> None:
    """Where the system can do that; a socket of the file system needs nothing of the kind."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _DROP_NEW))
    option = struct.pack("HL", len(_DROP_NEW), ctypes.addressof(program))
    for listener in listeners:
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            try:
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
            except OSError:
                return  # not Linux, or not allowed: then it is closed as everywhere


def stop_softly(server: Any, stop: Callable[..., None], graceful: bool = True) -> None:
    """Gunicorn's stop, which begins with closing its sockets. It has no hook before that."""
    nobody_goes_on = server.reexec_pid == server.master_pid == 0 and not server.systemd
    if graceful and nobody_goes_on:
        make_no_new_connections(listener.sock for listener in server.LISTENERS)
    stop(graceful)
