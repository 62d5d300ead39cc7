"""One request to a model's server, and what is left out of it when it is refused; no HTTP here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from webapp.agent.completions.failures import Refused
from webapp.agent.completions.refusals import (
    STREAM,
    TOOLS,
    WHOLE,
    Part,
    is_of_this_request,
    refused_part,
)
from webapp.agent.completions.request import RequestBody
from webapp.agent.model import ModelRequest
from webapp.errors import ContextOverflow, ModelError


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request as it is tried: `left_out` are the parts that it goes without.

    `unlearned` are those of them that say nothing of other requests. `wants_pieces` says how the
    answer is wanted; how it is asked for depends on what the server refuses.
    """

    body: RequestBody
    request: ModelRequest
    left_out: frozenset[Part]
    wants_pieces: bool
    tools_required: bool = False
    unlearned: frozenset[Part] = frozenset()

    @property
    def learned(self) -> frozenset[Part]:
        """What an answer to this request shows that every request must go without."""
        return self.left_out - self.unlearned

    @property
    def streamed(self) -> bool:
        """Whether the answer is asked for in pieces."""
        return STREAM not in self.left_out if self.wants_pieces else WHOLE in self.left_out

    def content(self) -> bytes:
        text = self.body.text(self.request, self.left_out, stream=self.streamed)
        return text.encode("utf-8")

    def without(self, refused: Refused) -> Attempt:
        """The same without what was refused; raises the turn's error when that is no part of it."""
        part = self._part(refused)
        if part is None:
            raise refused.error from refused
        if part == TOOLS and self.tools_required:
            raise ModelError("The model takes no tools, which are required here.") from refused
        unlearned = self.unlearned
        if is_of_this_request(part, refused.words):
            unlearned |= {part}
        return replace(self, left_out=self.left_out | {part}, unlearned=unlearned)

    def is_final(self, refused: Refused) -> bool:
        """Whether the server would say the same again to the same request."""
        return isinstance(refused.error, ContextOverflow) or self._part(refused) is not None

    def _part(self, refused: Refused) -> Part | None:
        if refused.status is None:
            return None
        sent = self.body.sent(self.request, self.left_out, stream=self.streamed)
        return refused_part(refused.status, refused.words, sent, self.left_out)
