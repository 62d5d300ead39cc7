"""A name server that is silent holds up neither the database nor other hosts; under gevent."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import _socket, threading, time
from webapp.agent.http.call import Call
from webapp.agent.http.names import Names
from webapp.storage.native_thread import NativeThreads

sleep = monkey.get_original("time", "sleep")
found = _socket.getaddrinfo

def getaddrinfo(host, *args, **options):
    if host.startswith("silent"):
        sleep(20)
    return found("127.0.0.1", *args, **options)

_socket.getaddrinfo = getaddrinfo
names = Names()

def ask(name):
    try:
        names.find(name, 80, Call(), 5)
    except OSError:
        pass

for number in range(5):
    for _ in range(20):
        threading.Thread(target=ask, args=(f"silent{number}",)).start()
time.sleep(0.2)
began = time.monotonic()
assert NativeThreads(2).run(lambda: 7) == 7
assert names.find("good", 80, Call(), 5)[0][1] == ("127.0.0.1", 80)
assert time.monotonic() - began < 1, "it was held up"
print("held", flush=True)
import os
os._exit(0)
"""


def test_the_database_and_other_names_do_not_wait_for_silent_ones() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "held\n", ran.stderr
