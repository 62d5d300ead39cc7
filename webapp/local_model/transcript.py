"""How a conversation is written down for SmolLM2-135M-Instruct; the model itself is in `server`.

With its own chat template so small a model seldom finds what it was told. It continues a plain
transcript well, when examples of the same kind stand in front:

    instructions, general examples, the conversation so far,
    [personal examples, notes of what the user said of themselves,] the question, `Assistant:`

The part in brackets is there only when the user speaks of themselves. It stands close to the
question because the model reads no further than that, and after the conversation because what is
in front of it then stays in llama.cpp's cache from turn to turn. The personal examples with names
in them are left out as long as the user has given none: the model would answer with theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STOPS = ("\nUser:", "\nAssistant:", "\nNotes:", "\n\n")
MAX_NOTES = 4
MAX_NOTE_CHARS = 100

# Capitals are asked for where a name could as well be any word: "I'm Bob", but "I'm tired".
NAME = r"([^\W\d_][\w'’-]*(?: [A-Z][\w'’-]+){0,2})"
CAPITALISED = r"([A-ZÀ-ÖØ-ÞĀ-Ž][\w'’-]*(?: [A-Z][\w'’-]+){0,2})"
SURE_NAME = re.compile(rf"\b(?:[Mm]y name(?:['’]s| is)|[Cc]all me) {NAME}")
LIKELY_NAME = re.compile(
    rf"\b[Ii](?:['’]m| am) {CAPITALISED}(?=[,.!]|$)|^(?:[\w ]+, )?{CAPITALISED} (?:here|speaking)\b"
)
STATEMENT = re.compile(
    r"(?:(?:hi|hello|hey|actually|well|ok|okay|yes|no|oh|and|but|so)\b[ ,.!]*)*"
    r"(?:my|i|i['’]m|i['’]ve)\b",
    re.IGNORECASE,
)
FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself)\b", re.IGNORECASE)
REQUEST = re.compile(
    r"\b(?:tell|help|show|give|explain to) me\b|\b(?:can i|how do i|i need|i want|i would like)\b",
    re.IGNORECASE,
)
POSSESSIVE = re.compile(r"\bmy\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One message: the `speaker` is "User" or "Assistant"."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What a user has said of themselves: a name, if any, and the latest other statements."""

    name: str | None
    statements: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Notes:
        """Read from the user's messages, oldest first; a later name replaces an earlier one."""
        name: str | None = None
        sure = False
        statements: dict[str, None] = {}
        for sentence in (sentence for text in texts for sentence in _sentences(text)):
            if match := SURE_NAME.search(sentence):
                name, sure = match[1], True
            elif match := LIKELY_NAME.search(sentence):
                name = name if sure else match[1] or match[2]
            elif STATEMENT.match(sentence):
                statement = sentence.rstrip(".! ")
                statements.pop(statement, None)
                statements[statement] = None
        return cls(name, tuple(statements)[-MAX_NOTES:])

    def line(self) -> str:
        told = [f"My name is {self.name}."] if self.name else []
        told += [f"{statement}." for statement in self.statements]
        return "Notes: " + (" ".join(told) or "none.")


GENERAL_EXAMPLES = (
    ("Hello", "Hello! How can I help you today?"),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("How many months are in a year?", "There are 12 months in a year."),
    ("Thank you", "You are welcome!"),
    ("Who painted the Mona Lisa?", "The Mona Lisa was painted by Leonardo da Vinci."),
    ("What is 3 + 5?", "3 + 5 is 8."),
    ("Can you help me?", "Of course! What do you need help with?"),
    ("capital of Spain", "The capital of Spain is Madrid."),
)
NAMELESS_EXAMPLES = (
    (Notes(None, ()), "What is my name?", "You have not told me your name yet."),
    (Notes(None, ("I live in Madrid",)), "Where do I live?", "You live in Madrid."),
    (Notes(None, ()), "Who am I?", "I do not know, you have not told me your name yet."),
    (Notes(None, ("I like tea",)), "I like tea.", "Tea is a good choice!"),
    (
        Notes(None, ("My phone number is 555",)),
        "What is my phone number?",
        "Your phone number is 555.",
    ),
    (
        Notes(None, ("I like tea",)),
        "Do you remember my name?",
        "No, you have not told me your name yet.",
    ),
    (
        Notes(None, ("I have a cat called Tiger", "I am 30 years old")),
        "How old am I?",
        "You are 30 years old.",
    ),
    (
        Notes(None, ("I have a cat called Tiger", "I am 30 years old")),
        "What is my cat's name?",
        "Your cat's name is Tiger.",
    ),
)
NAMED_EXAMPLES = (
    (Notes("Carol", ()), "My name is Carol", "Nice to meet you, Carol! How can I help you?"),
    (Notes("Peter", ("I live in Madrid",)), "What is my name?", "Your name is Peter."),
    (Notes("Nina", ()), "Do you remember my name?", "Yes, your name is Nina."),
    (
        Notes("Oscar", ("I live in Madrid", "I like tea")),
        "Where do I live?",
        "You live in Madrid.",
    ),
    (Notes("Sofia", ()), "Call me Sofia", "Nice to meet you, Sofia! How can I help you?"),
    (
        Notes("Laura", ("I am 30 years old", "My phone number is 555")),
        "What is my phone number?",
        "Your phone number is 555.",
    ),
    (Notes("Victor", ("I like tea",)), "Who am I?", "You are Victor."),
    (Notes("Maya", ()), "What did I say my name was?", "Your name is Maya."),
)


def write(instructions: str, lines: Sequence[Line]) -> str:
    """The text that the model continues with the assistant's next answer."""
    general = [f"User: {asked}\nAssistant: {said}" for asked, said in GENERAL_EXAMPLES]
    *past, last = lines
    told = [f"{line.speaker}: {_one_line(line.text)}" for line in past]
    parts = ["\n".join(filter(None, map(_one_line, instructions.splitlines()))), *general]
    if last.speaker == "User" and _is_personal(last.text):
        notes = Notes.of(line.text for line in lines if line.speaker == "User")
        examples = NAMED_EXAMPLES if notes.name else NAMELESS_EXAMPLES
        parts += ["\n".join(told)]
        parts += [f"{n.line()}\nUser: {asked}\nAssistant: {said}" for n, asked, said in examples]
        told = [notes.line()]
    told += [f"{last.speaker}: {_one_line(last.text)}", "Assistant:"]
    return "\n\n".join(filter(None, [*parts, "\n".join(told)]))


def _one_line(text: str) -> str:
    """A message cannot write lines of the transcript, nor llama.cpp's control tokens."""
    return " ".join(text.replace("\0", " ").replace("<|", "< |").split())


def _sentences(text: str) -> list[str]:
    """The statements in a text that are short enough to be noted; questions are none."""
    pieces = (_one_line(piece) for piece in re.split(r"(?<=[.!?])\s+|[\r\n]+", text))
    return [piece for piece in pieces if len(piece) <= MAX_NOTE_CHARS and not piece.endswith("?")]


def _is_personal(text: str) -> bool:
    """Whether the user speaks of themselves, other than to ask for something."""
    if LIKELY_NAME.search(text):
        return True
    asks = REQUEST.search(text) and not POSSESSIVE.search(text)
    return bool(FIRST_PERSON.search(text)) and not asks
