"""The embedded model's process: llama.cpp's own HTTP server, with this project's settings.

Started by `process`, which chose the port and the key and waits for the one line that this writes.
How a conversation is put to the model stands in `chat_template.jinja`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import xllamacpp

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
STOPS = ["\nUser:", "\nAssistant:", "\nNotes:", "\n\n"]
SLOTS = 4
# The weights were trained on 8192; a token of context costs 23 kB, and reading one 2 to 4 ms.
CONTEXT_TOKENS = 3072
ANSWER_TOKENS = 256
# Between two pieces of a long prompt the others' answers go on, and a hang-up is noticed.
BATCH_TOKENS = 128
CACHE_MIB = 64
# Each connection holds one; those that wait for a slot must leave one for the health check.
HTTP_THREADS = 256
PARENT_CHECK_SECONDS = 0.25


def parameters(weights: str, port: int, name: str, key: str) -> xllamacpp.CommonParams:
    """The settings of llama.cpp: the model, one loopback port that needs the key, greedy
    answers."""
    given = xllamacpp.CommonParams()
    given.model.path = weights
    given.model_alias = {name}
    given.n_parallel = SLOTS
    given.n_ctx = CONTEXT_TOKENS * SLOTS
    given.n_predict = ANSWER_TOKENS
    given.n_batch = given.n_ubatch = BATCH_TOKENS
    given.cache_ram_mib = CACHE_MIB
    given.ctx_shift = given.fit_params = given.warmup = False
    given.n_gpu_layers = 0
    # Its threads wait for one another by spinning: with as many as cores, any other work on the
    # machine made it ten times slower. Half of the cores are left to the web server.
    for cpu in (given.cpuparams, given.cpuparams_batch):
        cpu.n_threads = max(1, (os.cpu_count() or 1) // 2)
    given.chat_template = TEMPLATE.read_text(encoding="utf-8")
    given.antiprompt = STOPS
    # Otherwise the space after "Assistant:" stands in front of each answer.
    given.force_pure_content_parser = True
    given.sampling.temp = 0.0
    # At temperature 0 so small a model may say one phrase for ever; what it has been told, a name
    # of many tokens for one, it must be able to repeat.
    given.sampling.dry_multiplier = 0.8
    given.sampling.dry_allowed_length = 20
    given.sampling.dry_penalty_last_n = 64
    given.hostnames = ["127.0.0.1"]
    given.port = port
    given.reuse_port = True  # the parent holds the port too, without listening
    given.api_keys = [key]
    given.n_threads_http = HTTP_THREADS
    given.ui = given.endpoint_slots = False
    given.verbosity = 0
    return given


def main(weights: str, name: str, port: str) -> None:
    """Serves until the parent process has gone; the key is the first line of standard input."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    key = sys.stdin.readline().strip()
    # llama.cpp writes to standard output too, so the pipe to the parent is moved out of its way.
    report = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server = xllamacpp.Server(parameters(weights, int(port), name, key))
    os.write(report, f"{server.listening_address}\n".encode())
    os.close(report)
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    # An orderly end would wait for answers that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
