"""How many tokens a text is at most, counted without a model's vocabulary.

Each model has its own, and most servers' is not to be had offline. So this is a bound, which holds
for the vocabularies of OpenAI's models and for small ones too, which cut other scripts than the
Latin one into bytes. `tests/agent/token_samples.json` has real numbers, script by script, and
docs/models.md says by how much the bound lies over them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from webapp.agent.model import ToolSpec
from webapp.messages import Message

TokenCounter = Callable[[str], int]

# What stands around each message, and around a call of a tool in it.
A_MESSAGE = 6
A_CALL = 8
# Small vocabularies cut Polish or Afrikaans a little finer than the expression below.
MARGIN = 1.06
REMEMBERED = 20_000

# Three small letters; a capital and two small ones; each figure and each other sign of ASCII; the
# space before a figure or a letter of another script; line breaks and wide spaces.
_PIECES = re.compile(
    r"[a-z]{1,3}|[A-Z][a-z]{0,2}|[0-9]|\s(?=[0-9\u0250-\U0010ffff])"
    r"|[^\sA-Za-z0-9\u0080-\U0010ffff]|\n|[ \t]{2,}"
)
# Letters of which a token holds more than one byte in any vocabulary: Greek, Cyrillic, Hebrew and
# Arabic, of two bytes, then those of India, Thai, Chinese and Japanese, of three.
_CHEAPER = re.compile(
    r"[\u0370-\u052f\u0590-\u06ff\u0900-\u0eff\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
)
_CHEAPER_BY = 0.75

_counted: dict[tuple[int, int], int] = {}


def most_tokens_in(text: str) -> int:
    """How many tokens the text is at most. A text that is counted again costs next to nothing."""
    key = (hash(text), len(text))
    found = _counted.get(key)
    if found is None:
        if len(_counted) >= REMEMBERED:
            _counted.clear()
        found = _counted[key] = _count(text)
    return found


def _count(text: str) -> int:
    tokens: float = len(_PIECES.findall(text))
    if not text.isascii():
        beyond = len(text.encode("utf-8", "replace")) - len(text.encode("ascii", "ignore"))
        tokens += beyond - _CHEAPER_BY * len(_CHEAPER.findall(text))
    return int(tokens * MARGIN) + 1


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """How many tokens the model may be sent, and how they are counted."""

    max_tokens: int
    counter: TokenCounter = most_tokens_in
    for_tools: int = 0

    def beside(self, specs: Sequence[ToolSpec]) -> TokenBudget:
        """The budget of a turn in which the model is told of these tools."""
        for_tools = sum(
            A_CALL
            + self.counter(
                f"{spec.name} {spec.description} {json.dumps(dict(spec.parameters), default=str)}"
            )
            for spec in specs
        )
        return TokenBudget(self.max_tokens, self.counter, for_tools)

    def less(self, tokens: int) -> TokenBudget:
        """The budget when so many tokens more are spoken for."""
        return TokenBudget(self.max_tokens, self.counter, self.for_tools + tokens)

    def of(self, messages: Sequence[Message]) -> int:
        """How many tokens these messages are."""
        return sum(map(self._of_one, messages))

    def _of_one(self, message: Message) -> int:
        tokens = A_MESSAGE + self.counter(message.content)
        for call in message.tool_calls:
            tokens += A_CALL + self.counter(call.id)
            tokens += self.counter(call.name) + self.counter(call.arguments)
        if message.tool_call_id is not None:
            tokens += self.counter(message.tool_call_id)
        if message.extra:
            tokens += self.counter(json.dumps(dict(message.extra), default=str))
        return tokens
