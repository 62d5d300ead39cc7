"""The record of one finished request, as a value; store.py stores it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """The key by which refused requests are counted: minute, code, and whether a limit refused
    them."""

    minute_ms: int
    code: str
    limited: bool


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that named a tenant. Times in milliseconds; `code` is '' for a success.

    Each field is a column of `requests`, `at_ms` that of `at`; `id` is given by the database.
    """

    at_ms: int
    route: str
    status: int
    latency_ms: int
    request_id: str
    code: str = ""
    first_token_ms: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    id: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def failed(self) -> bool:
        """It ended 5xx."""
        return self.status >= 500

    @property
    def timed(self) -> bool:
        """Whether it has a latency: only what reached the agent does. A request that ended 4xx, or
        503, would make the percentiles look better than what users wait for."""
        return not (400 <= self.status < 500 or self.status == 503)

    @property
    def refused(self) -> bool:
        """A limit or the queue refused it."""
        return self.status == 429
