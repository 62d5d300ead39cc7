"""Counts what a run uses at the model: as its server says, estimated where it does not say.

Budgets are kept by it, so nobody gets tokens for nothing by hanging up before the bill comes.
What an answer tells its client as its usage is the server's word alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from webapp.messages import Usage

if TYPE_CHECKING:
    from webapp.agent.model import ModelReply, ModelRequest

# What stands around each message in a model's input, about.
TOKENS_A_MESSAGE = 4


def tokens_in(text: str) -> float:
    """About how many tokens a text is: four letters of Latin script make one, as does one Chinese,
    Japanese or Korean character; other scripts lie between.

    No model's vocabulary is at hand offline, and each has its own.
    """
    letters = len(text)
    beyond = 0 if text.isascii() else len(text.encode("utf-8", "replace")) - letters
    return letters / 4 + beyond * 3 / 8


class Meter:
    """The tokens that one run has used so far. One thread uses it; `usage` may be read from
    others."""

    def __init__(self) -> None:
        self._settled = Usage()
        self._request: ModelRequest | None = None
        self._at_work = False
        self._said = Usage()
        self._pieces: Sequence[str] = ()
        self._heard = 0.0

    @property
    def usage(self) -> Usage:
        """All calls that are over, and the one under way as far as it has come."""
        return self._settled + self._of_this_call("")

    def ask(self, request: ModelRequest, pieces: Sequence[str]) -> None:
        """A call begins; `pieces` is the list that its text goes to."""
        self._request, self._pieces = request, pieces
        self._at_work, self._said, self._heard = False, Usage(), 0.0

    def at_work(self) -> None:
        """From here on the tokens of the question count, whatever becomes of the answer."""
        self._at_work = True

    def heard(self, tokens: float) -> None:
        """So much of the answer came beside its text: thoughts, and wishes for tools."""
        self._at_work = True
        self._heard += tokens

    def said(self, usage: Usage) -> None:
        """The server's own word, as far as the call has come."""
        self._said = usage

    def add(self, usage: Usage) -> None:
        """A call that another meter has counted."""
        self._settled += usage

    def settle(self, reply: ModelReply | None) -> None:
        """The call is over, with this reply or with none; later calls to it change nothing."""
        if self._request is None:
            return
        written = ""
        if reply is not None:
            self._at_work, self._said = True, reply.usage
            written = reply.content + "".join(c.name + c.arguments for c in reply.tool_calls)
        self._settled += self._of_this_call(written)
        self._request, self._pieces = None, ()

    def _of_this_call(self, written: str) -> Usage:
        request, said = self._request, self._said
        if request is None:
            return Usage()
        if said.input_tokens and said.output_tokens and written:
            return said
        if not (self._at_work or self._pieces or said.total_tokens):
            return Usage()
        answer = round(max(self._heard + tokens_in("".join(self._pieces)), tokens_in(written)))
        return Usage(said.input_tokens or _question(request), max(said.output_tokens, answer))


def _question(request: ModelRequest) -> int:
    """About how many tokens the model was sent."""
    tokens = 0.0
    for message in request.messages:
        tokens += TOKENS_A_MESSAGE + tokens_in(message.content)
        for call in message.tool_calls:
            tokens += tokens_in(call.name) + tokens_in(call.arguments)
    if request.response_format is not None:
        tokens += tokens_in(request.response_format.words)
    for tool in request.tools:
        tokens += tokens_in(tool.name) + tokens_in(tool.description)
        tokens += tokens_in(json.dumps(dict(tool.parameters)))
    return round(tokens)
