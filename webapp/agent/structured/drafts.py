"""The answers of one turn until one is of the wanted form; what is wrong is sent back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from webapp.agent.context_window import ContextWindow
from webapp.agent.model import Model, ModelReply, takes_response_format
from webapp.agent.replies import CUT_SHORT
from webapp.agent.response_format import ResponseFormat
from webapp.agent.structured.wanted import NO_JSON, Reading, Unfit, Wanted
from webapp.errors import AnswerInvalid, ConfigurationError, MessageTooLong
from webapp.messages import Message

MAX_TRIES = 3
MAX_SENT_BACK_CHARS = 16_000
FILTERED = "content_filter"


@dataclass(slots=True)
class Drafts:
    """A bad answer and the sentence about it are in the next request alone: they are no part of
    the turn, and nobody reads them later."""

    wanted: Wanted
    tries: int = 0
    sent_back: tuple[Message, ...] = ()
    ignored: bool = False

    def request(
        self, model: Model, window: ContextWindow, turn: Sequence[Message]
    ) -> tuple[Sequence[Message], ResponseFormat]:
        """The messages of the next request, within the window's bounds, and the form.

        Raises `MessageTooLong` when they leave no room for the form.
        """
        form = self.wanted.format
        if self.sent_back:
            form = replace(form, in_words=True, ignored=self.ignored)
        messages = _fitting(window, turn, form, self.sent_back)
        if messages is None:
            messages = _fitting(window, turn, form, ())
        if messages is None:
            raise MessageTooLong("The form of the answer is longer than the model may be sent.")
        if not takes_response_format(model):
            messages = form.told_in(messages)
        return messages, form

    def read(self, reply: ModelReply, *, is_last: bool) -> Reading | None:
        """The answer, or None when the model is to be asked again. Raises `AnswerInvalid`.

        `is_last` says that the model may not be asked again.
        """
        self.tries += 1
        try:
            return self.wanted.read(reply.content)
        except Unfit as unfit:
            fault, is_last = str(unfit), is_last or unfit.for_good
        given_up = _given_up(reply, fault)
        if given_up is not None:
            raise given_up
        if is_last or self.tries >= MAX_TRIES:
            raise AnswerInvalid(
                f"The model gave no answer of the form that was asked for, in {self.tries} "
                + ("try." if self.tries == 1 else "tries."),
                answer=reply.content,
                fault=fault,
            )
        self.ignored = fault == NO_JSON
        self.sent_back = (
            Message.assistant(reply.content[:MAX_SENT_BACK_CHARS]),
            Message.user(f"Your answer cannot be used. {fault} Give the whole answer once more."),
        )
        return None

    def changed(self, text: str) -> Reading:
        """The answer that a guardrail has made of a good one. Raises `AnswerInvalid`."""
        try:
            return self.wanted.read(text)
        except Unfit as unfit:
            raise AnswerInvalid(
                "The answer is not of its form without what a guardrail has changed.",
                answer=text,
                fault=str(unfit),
            ) from None


def _fitting(
    window: ContextWindow,
    turn: Sequence[Message],
    form: ResponseFormat,
    back: tuple[Message, ...],
) -> Sequence[Message] | None:
    """The window with what is sent back behind it; None when it leaves no room for that."""
    cap = window.cap - len(back)
    if back and cap <= len(window.instructions):
        return None
    if window.budget is None:
        return (*(replace(window, cap=cap) if back else window).messages(turn), *back)
    taken = window.budget.counter(form.words) + window.budget.of(back)
    try:
        return (*replace(window, cap=cap, budget=window.budget.less(taken)).messages(turn), *back)
    except (ConfigurationError, MessageTooLong):
        window.messages(turn)  # when it is too long without the form, this says so
        return None


def _given_up(reply: ModelReply, fault: str) -> AnswerInvalid | None:
    """The error for an answer that another try would not better."""
    if reply.refused:
        sentence = "The model refused to give an answer of the form that was asked for."
        return AnswerInvalid(sentence, reason="refused", answer=reply.content, fault=fault)
    if reply.finish_reason in CUT_SHORT:
        sentence = "The model's answer was cut off before it was complete."
        return AnswerInvalid(sentence, reason="cut_off", answer=reply.content, fault=fault)
    if reply.finish_reason == FILTERED:
        sentence = "The model's answer was filtered before it was complete."
        return AnswerInvalid(sentence, reason="filtered", answer=reply.content, fault=fault)
    return None
