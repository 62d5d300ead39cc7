"""llama.cpp as this project uses it: one text continued, in slots; no HTTP and no chat in here."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xllamacpp

SLOTS = 4
# The weights were trained on 8192; a token of context costs 23 kB, and reading one 2 to 4 ms.
CONTEXT_TOKENS = 3072
ANSWER_TOKENS = 256
# Between two pieces of a long prompt the others' answers go on, and a hang-up is noticed.
BATCH_TOKENS = 128
CACHE_MIB = 64
# An answer that came out empty is asked for again with its first word given.
FIRST_WORD = "I"
GONE_SECONDS = 0.25
# At temperature 0 so small a model may say one phrase for ever; what it has been told, a name of
# many tokens for one, it must be able to repeat.
AGAINST_LOOPS = {
    "dry_multiplier": 0.8,
    "dry_allowed_length": 20,
    "dry_penalty_last_n": 64,
    "dry_sequence_breakers": ["\n"],
}


class PromptTooLong(Exception):
    """The prompt leaves no room for an answer of the length that was asked for."""

    def __init__(self, prompt_tokens: int) -> None:
        super().__init__(prompt_tokens)
        self.prompt_tokens = prompt_tokens


class EngineFailed(Exception):
    """llama.cpp reported an error."""


class CallerGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How one answer is made: `tokens` at most, up to the first of `stops`."""

    tokens: int
    temperature: float
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended (`stop` or `length`) and what it took."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine:
    """A loaded model. `answer` may be called from many threads; `SLOTS` of them run at a time."""

    def __init__(self, weights: str) -> None:
        self._server = xllamacpp.Server(_parameters(weights))
        self._free = threading.BoundedSemaphore(SLOTS)
        # The first run maps the weights into memory, which the first user need not wait for.
        self.answer("User: Hello\nAssistant:", Limits(1, 0.0, ()), lambda _: None, lambda: False)

    def answer(
        self, prompt: str, limits: Limits, emit: Callable[[str], None], gone: Callable[[], bool]
    ) -> Outcome:
        """Continues the prompt, handing out the text in pieces, without white space at its ends.

        `gone` is asked again and again whether the caller has left. Raises `PromptTooLong`
        before the first piece, `CallerGone` and `EngineFailed`.
        """
        while not self._free.acquire(timeout=GONE_SECONDS):
            if gone():
                raise CallerGone
        try:
            if gone():
                raise CallerGone
            run = _Run(limits, emit, gone)
            run.through(self._server, prompt)
            if not run.said_something and limits.tokens > 1:
                run.take_text(FIRST_WORD)
                run.through(self._server, f"{prompt} {FIRST_WORD}")
        finally:
            self._free.release()
        return Outcome(run.finish_reason, run.prompt_tokens, max(run.completion_tokens, 1))


class _Run:
    """One answer in the making. Its callback is called by llama.cpp and must not raise."""

    def __init__(
        self, limits: Limits, emit: Callable[[str], None], gone: Callable[[], bool]
    ) -> None:
        self._limits = limits
        self._emit = emit
        self._gone = gone
        self._failure: Exception | None = None
        self._held = ""  # white space, which is handed out only when text comes after it
        self.said_something = False
        self.finish_reason = "stop"
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def through(self, server: Any, prompt: str) -> None:
        request = {
            "prompt": prompt,
            "stream": True,
            "return_progress": True,
            "cache_prompt": True,
            "max_tokens": self._limits.tokens,
            "temperature": self._limits.temperature,
            "stop": list(self._limits.stops),
            **AGAINST_LOOPS,
        }
        server.handle_completions(request, self._take)
        if self._failure:
            raise self._failure

    def _take(self, event: dict[str, Any]) -> bool:
        """Takes one event; true ends the run."""
        try:
            self._read(event)
        except (PromptTooLong, EngineFailed, CallerGone, OSError) as failure:
            self._failure = CallerGone() if isinstance(failure, OSError) else failure
        return self._failure is not None

    def _read(self, event: dict[str, Any]) -> None:
        if error := event.get("error"):
            if error.get("type") == "exceed_context_size_error":
                raise PromptTooLong(int(error.get("n_prompt_tokens", CONTEXT_TOKENS)))
            raise EngineFailed(str(error.get("type", "unknown")))
        length = int((event.get("prompt_progress") or {}).get("total", 0))
        if length + min(self._limits.tokens, ANSWER_TOKENS) > CONTEXT_TOKENS:
            # Without this llama.cpp would begin an answer and break it off at the context's end.
            raise PromptTooLong(length)
        if usage := event.get("usage"):
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.completion_tokens += int(usage["completion_tokens"])
        for choice in event.get("choices", ()):
            self.take_text(choice.get("text") or "")
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if self._gone():
            raise CallerGone

    def take_text(self, text: str) -> None:
        text = self._held + text if self.said_something else text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        if kept:
            self.said_something = True
            self._emit(kept)


def _parameters(weights: str) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = weights
    parameters.n_parallel = SLOTS
    parameters.n_ctx = CONTEXT_TOKENS * SLOTS
    parameters.n_batch = BATCH_TOKENS
    parameters.n_ubatch = BATCH_TOKENS
    parameters.ctx_shift = False
    parameters.fit_params = False
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.cache_ram_mib = CACHE_MIB
    # Its threads wait for one another by spinning: with as many as cores, any other work on the
    # machine made it ten times slower. Half of the cores are left to the web server.
    threads = max(1, (os.cpu_count() or 1) // 2)
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = threads
    # llama.cpp opens a port of its own, which is not used: nobody knows its key.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_threads_http = 1
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 0
    return parameters
