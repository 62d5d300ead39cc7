"""The form in which an answer is wanted, as a value; how it is told to a model in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from webapp.messages import Message

_ALONE = "Answer with JSON alone: no other text and no Markdown around it."


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """JSON that matches `schema`, or any JSON object where there is no schema.

    `strict` asks the server to let the model write nothing else, as OpenAI's API means it. With
    `in_words` the model is told in the messages as well: its last answer did not keep to the form,
    and with `ignored` was no JSON at all.
    """

    name: str = "answer"
    schema: Mapping[str, Any] | None = None
    strict: bool = False
    description: str = ""
    in_words: bool = False
    ignored: bool = False

    @property
    def is_object(self) -> bool:
        """Whether every answer of this form is a JSON object, which servers insist on."""
        return self.schema is None or self.schema.get("type") == "object"

    @property
    def mark(self) -> str:
        """A text that is another one for another form."""
        told = {"schema": self.schema, "strict": self.strict, "description": self.description}
        return json.dumps({"name": self.name, **told}, sort_keys=True)

    @property
    def words(self) -> str:
        """The form as a sentence for a model."""
        if self.schema is None:
            return f"{_ALONE} It must be one JSON object."
        schema = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
        return f"{_ALONE} It must match this JSON Schema:\n{schema}"

    def told_in(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the form in the instructions, or else in the last question: no further
        message, because their number is bounded."""
        told = list(messages)
        if not told:
            return [Message.user(self.words)]
        users = [place for place, message in enumerate(told) if message.role == "user"]
        place = 0 if told[0].role == "system" or not users else users[-1]
        message = told[place]
        told[place] = replace(message, content=f"{message.content}\n\n{self.words}".strip())
        return told
