"""Our errors for what a model's server refuses or says of a failure; no HTTP client here.

The sentences are for clients: what the server said never stands in them.
"""

from __future__ import annotations

from webapp.agent.completions.overflow import is_overflow
from webapp.errors import ContextOverflow, ModelError, ModelTimeout

TOO_LONG = "The conversation is too long for the model."
# In these a refusal is never about what was sent.
OF_THE_CALLER = frozenset({401, 402, 403, 404, 407, 408})


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
        return ModelError("The model's server is refusing requests for now.")
    return ModelError("The model's server failed.")


def failure_in_answer(words: str) -> ModelError:
    """The error for an answer of status 200 that says itself that it is one."""
    if is_overflow(words):
        return ContextOverflow(TOO_LONG)
    return ModelError("The model failed in the middle of its answer.")
