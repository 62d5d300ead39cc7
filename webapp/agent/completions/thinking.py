"""Removes reasoning that stands in front of an answer's text; reasoning in fields is not here."""

from __future__ import annotations

import re

TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<scratchpad>": "</scratchpad>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
    "<|channel>thought": "<channel|>",
    "<unused94>thought": "<unused95>",
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
}
FIRST = frozenset(tag[0] for tag in TAGS)
_UNOPENED = re.compile(r"(?:\A|\n)</(?:think|thinking)>[ \t]*\n+")
LONGEST = max(map(len, TAGS))
MOST_SPACE = 4096


class ThoughtFilter:
    """Takes an answer's text in pieces and gives what is no thought.

    Only blocks at the very beginning are thoughts: further on such a tag is something that the
    model writes about. A block without an end is a thought to its end.
    """

    def __init__(self) -> None:
        self.through = False
        self._held = ""
        self._closing = ""
        self._thought_before = False

    def take(self, piece: str) -> str:
        """The part of the text so far that may be shown now."""
        if self.through:
            return piece
        self._held += piece
        while True:
            if self._closing and not self._past_the_thought():
                return ""
            start = self._held.lstrip()
            if start and start[0] not in FIRST:
                return self.end()  # the way of nearly every answer
            opening = start[:LONGEST].lower()
            tag = next((tag for tag in TAGS if opening.startswith(tag)), None)
            if tag is not None:
                self._closing, self._held = TAGS[tag], start[len(tag) :]
                continue
            if len(self._held) < MOST_SPACE and any(tag.startswith(opening) for tag in TAGS):
                return ""  # nothing yet, or the beginning of a tag
            return self.end()

    def end(self) -> str:
        """The rest that was held back, when no more text comes."""
        self.through = True
        if self._closing:
            return ""
        return self._held.lstrip() if self._thought_before else self._held

    def _past_the_thought(self) -> bool:
        # Not `lower`, under which some letters become two and the place another.
        found = re.search(re.escape(self._closing), self._held, re.IGNORECASE)
        if found is None:
            # As much as may be the beginning of the closing tag; the rest need not be kept.
            self._held = self._held[-len(self._closing) :]
            return False
        self._held = self._held[found.end() :]
        self._closing, self._thought_before = "", True
        return True


def after_unopened_thought(text: str) -> str:
    """The text behind a thought whose opening tag was part of the prompt, as with some servers. The
    closing tag then stands on a line of its own. That cannot be known of a text of which only the
    beginning has come, so a streamed answer shows such a thought.
    """
    if "</think" not in text:
        return text
    found = _UNOPENED.search(text)
    if found is None or "<think" in text[: found.start()]:
        return text
    return text[found.end() :]
