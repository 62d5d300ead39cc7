"""Turns error answers of a model's server into our errors; no HTTP client here.

The sentences are for clients: what the server said never stands in them.
"""

from __future__ import annotations

from webapp.agent.completions.overflow import is_overflow
from webapp.agent.completions.words import words_of, words_of_body
from webapp.errors import ContextOverflow, ModelError, ModelTimeout


class Refused(Exception):
    """The server refused the request with a status, or 200 in its answer, and these words.

    Without a status there was no answer at all. `error` is what a turn ends with.
    """

    def __init__(self, status: int | None, words: str, error: ModelError) -> None:
        super().__init__(status)
        self.status, self.words, self.error = status, words, error


TOO_LONG = "The conversation is too long for the model."
# In these a refusal is never about what was sent.
OF_THE_CALLER = frozenset({401, 402, 403, 407, 408})


def failure(status: int, words: str) -> ModelError:
    """The error for an answer with an error's status."""
    if status == 413 or (status not in OF_THE_CALLER and is_overflow(words)):
        return ContextOverflow(TOO_LONG)
    if status == 400 and not words:
        # Some say no word when the messages are too long, and others for any reason.
        return ContextOverflow(TOO_LONG, certain=False)
    if status == 408:
        return ModelTimeout("The model did not answer in time.")
    if status in (401, 403):
        return ModelError("The model's server refused our credentials.")
    if status == 404:
        return ModelError("The model's server does not have this model.")
    if status == 429:
        return ModelError("The model's server is refusing requests for now.", server_failed=True)
    return ModelError("The model's server failed.", server_failed=status >= 500)


def refusal(status: int, body: bytes) -> Refused:
    """The failure that an answer with an error status describes."""
    words = words_of_body(body)
    return Refused(status, words, failure(status, words))


def refusal_in_answer(said: object) -> Refused:
    """The failure that an answer of status 200 describes."""
    words = words_of(said)
    if is_overflow(words):
        return Refused(200, words, ContextOverflow(TOO_LONG))
    failed = ModelError(
        "The model failed in the middle of its answer.", server_failed=_says_it_failed(said)
    )
    return Refused(200, words, failed)


def _says_it_failed(said: object) -> bool:
    """Whether a gateway's 200 carries the number of a server's failure."""
    inner = said.get("error") if isinstance(said, dict) else None
    numbers = [
        each.get(name)
        for each in (said, inner)
        if isinstance(each, dict)
        for name in ("code", "status", "status_code")
    ]
    return any(
        isinstance(number, int) and (number == 429 or 500 <= number < 600) for number in numbers
    )
