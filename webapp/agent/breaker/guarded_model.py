"""A model behind a breaker: says which failures are the server's."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

from webapp.agent.breaker.breaker import Breaker, Try
from webapp.agent.model import (
    Model,
    ModelReply,
    ModelRequest,
    TextDelta,
    takes_response_format,
)
from webapp.errors import ModelError, ModelTimeout


class GuardedModel:
    """The same model; its calls raise `ModelUnavailable` as well, while its server is ill.

    A call that the turn's deadline ended tells of the server only when it had `fair_seconds`: tools
    may have used up the turn's time.
    """

    def __init__(self, model: Model, breaker: Breaker, *, fair_seconds: float = 0.0) -> None:
        self._model = model
        self._breaker = breaker
        self._fair_seconds = fair_seconds

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def takes_response_format(self) -> bool:
        return takes_response_format(self._model)

    def complete(self, request: ModelRequest) -> ModelReply:
        call = self._breaker.begin(request.user_id, begins_turn=request.begins_turn)
        try:
            reply = self._model.complete(request)
            call.answered()
            return reply
        except ModelError as error:
            self._judge(call, request, error)
            raise
        finally:
            call.end()

    def stream(self, request: ModelRequest) -> Iterator[TextDelta | ModelReply]:
        call = self._breaker.begin(request.user_id, begins_turn=request.begins_turn)
        items: Iterator[TextDelta | ModelReply] | None = None
        is_whole = False
        try:
            items = self._model.stream(request)
            for item in items:
                if not call.has_answer:
                    call.answered()
                is_whole = is_whole or isinstance(item, ModelReply)
                yield item
        except ModelError as error:
            self._judge(call, request, error)
            raise
        except GeneratorExit:
            # The turn ends when its time is over, also in the middle of an answer that drips.
            if not is_whole and request.deadline is not None and request.deadline.passed:
                self._judge(call, request, ModelTimeout(""))
            raise
        finally:
            if isinstance(items, Generator):
                items.close()
            call.end()

    def _judge(self, call: Try, request: ModelRequest, error: ModelError) -> None:
        if error.server_failed and not self._was_called_off(call, request, error):
            call.failed(error.retry_after)

    def _was_called_off(self, call: Try, request: ModelRequest, error: ModelError) -> bool:
        """Whether the call was ended by its own side before the server had its time."""
        if request.cancel is not None and request.cancel.is_set():
            return True
        if not isinstance(error, ModelTimeout) or request.deadline is None:
            return False
        return request.deadline.passed and time.monotonic() - call.began < self._fair_seconds
