"""How a conversation is written down for SmolLM2-135M-Instruct; the model itself is in `server`.

With its own chat template so small a model seldom finds what it was told. It continues a plain
transcript well, when examples of the same kind stand in front:

    instructions, general examples, the conversation so far,
    [closer examples, notes of what the user said of themselves,] the question, `Assistant:`

The part in brackets is there when the user gives a name, or asks about themselves. It stands close
to the question because the model hardly reads further than that, and behind the conversation
because what is in front of it then stays in llama.cpp's cache from turn to turn. The only name in
any example is the user's own, so that the model cannot answer with another.
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
# In small letters only as a whole sentence, and unless it is a common word for how one is.
SMALL_NAME = re.compile(
    r"(?:(?:hi|hello|hey)[ ,!]+)?i(?:['’]?m| am) "
    r"(?!(?:fine|good|great|ok|okay|well|tired|hungry|thirsty|sad|happy|bored|sick|ill|sorry|sure|"
    r"back|here|new|lost|late|ready|busy|angry|confused|cold|hot|done|home|glad|afraid|worried|"
    r"curious|lonely|alone|stressed|not|old|young|in|out|off|on|there)\b)(?!\w+(?:ing|ed)\b)"
    r"([^\W\d_]{2,})[.!]*$",
    re.IGNORECASE,
)
STATEMENT = re.compile(
    r"(?:(?:hi|hello|hey|actually|well|ok|okay|yes|no|oh|and|but|so)\b[ ,.!]*)*"
    r"(?:my|i|i['’]m|i['’]ve)\b",
    re.IGNORECASE,
)
# A question that what the user has said may answer; "Where can I …?" asks for something else.
ABOUT_USER = re.compile(
    r"\b(?:what|whats|who|where|when|which|how|remember|know|recall|remind|tell|say)\b.*"
    r"\b(?:i|me|my|mine)\b",
    re.IGNORECASE,
)
ADVICE = re.compile(
    r"\b(?:can|could|should|may|must|shall|would|how do) i\b|"
    r"\b(?:tell|show|give) me (?!(?:(?:who|what|where|how old) )?(?:my|i)\b)",
    re.IGNORECASE,
)

NAME_ASKED = re.compile(
    r"\bmy name\b|\bwho\b.*\bi\b|\bi called\b|\b(?:remember|know) me\b", re.IGNORECASE
)


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
            elif match := LIKELY_NAME.search(sentence) or SMALL_NAME.match(sentence):
                name = name if sure else next(filter(None, match.groups()))
            elif STATEMENT.match(sentence):
                statement = sentence.rstrip(".! ")
                statements.pop(statement, None)
                statements[statement] = None
        if name and name.islower():
            name = name.capitalize()
        return cls(name, tuple(statements)[-MAX_NOTES:])

    def line(self) -> str:
        told = [f"My name is {self.name}."] if self.name else []
        told += [f"{statement}." for statement in self.statements]
        return "Notes: " + (" ".join(told) or "none.")


GENERAL_EXAMPLES = (
    ("Hello", "Hello! How can I help you today?"),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("I like tea.", "Tea is a good choice!"),
    ("How many months are in a year?", "There are 12 months in a year."),
    ("Who wrote Don Quixote?", "Don Quixote was written by Miguel de Cervantes."),
    ("My bicycle is red.", "Red is a nice colour for a bicycle!"),
    ("What is 3 + 5?", "3 + 5 is 8."),
    ("Tell me a joke.", "Why did the chicken cross the road? To get to the other side!"),
    ("Tell me a fun fact.", "Honey never spoils: it can still be eaten after 3000 years."),
    ("Can you help me?", "Of course! What do you need help with?"),
    ("Thank you!", "You are welcome! Is there anything else that I can help you with?"),
    ("capital of Spain", "The capital of Spain is Madrid."),
)
# `{name}` becomes the user's. What the other examples tell of users, few would ask about.
INTRODUCTIONS = (
    ("Hi, I am {name}.", "Nice to meet you, {name}! How can I help you today?"),
    ("My name is {name}", "Nice to meet you, {name}! How can I help you today?"),
    ("Call me {name}", "Nice to meet you, {name}! How can I help you today?"),
    ("I'm {name}", "Nice to meet you, {name}! How can I help you today?"),
)
NAME_TOLD = (
    ((), "What is my name?", "Your name is {name}."),
    (("I like tea",), "Do you remember my name?", "Yes, your name is {name}."),
    ((), "Who am I?", "You are {name}."),
    ((), "Can you tell me my name?", "Your name is {name}."),
    ((), "What did I say my name was?", "Your name is {name}."),
)
NAME_NOT_TOLD = (
    ((), "What is my name?", "You have not told me your name yet."),
    ((), "Who am I?", "I do not know, you have not told me your name yet."),
    (("I like tea",), "Do you remember my name?", "No, you have not told me your name yet."),
)
FACTS_TOLD = (
    (("My bicycle is red",), "What colour is my bicycle?", "Your bicycle is red."),
    (("I work on a ship", "I like tea"), "Where do I work?", "You work on a ship."),
    (("My locker number is 88",), "What is my locker number?", "Your locker number is 88."),
    (("I like tea",), "What is my shoe size?", "You have not told me your shoe size yet."),
    (("My favourite drink is tea",), "What is my favourite drink?", "Your favourite drink is tea."),
)
FACTS_NOT_TOLD = (
    ((), "Where do I live?", "You have not told me where you live yet."),
    ((), "What is my phone number?", "You have not told me your phone number yet."),
    ((), "How old am I?", "You have not told me how old you are yet."),
    ((), "What is my dog's name?", "You have not told me your dog's name yet."),
)


def write(instructions: str, lines: Sequence[Line]) -> str:
    """The text that the model continues with the assistant's next answer."""
    *past, last = lines
    closing = [f"{last.speaker}: {_one_line(last.text)}", "Assistant:"]
    closer: list[str] = []
    if last.speaker == "User" and (name := Notes.of([last.text]).name):
        closer = [_exchange(*texts).replace("{name}", name) for texts in INTRODUCTIONS]
    elif last.speaker == "User" and _is_about_user(last.text):
        notes = Notes.of(line.text for line in lines if line.speaker == "User")
        closer = _examples_like(last.text, notes)
        closing.insert(0, notes.line())
    told = [f"{line.speaker}: {_one_line(line.text)}" for line in past]
    if not closer:
        told, closing = [], told + closing
    parts = [
        "\n".join(filter(None, map(_one_line, instructions.splitlines()))),
        *(_exchange(*texts) for texts in GENERAL_EXAMPLES),
        "\n".join(told),
        *closer,
        "\n".join(closing),
    ]
    return "\n\n".join(filter(None, parts))


def _exchange(question: str, answer: str) -> str:
    return f"User: {question}\nAssistant: {answer}"


def _examples_like(question: str, notes: Notes) -> list[str]:
    """Examples of the question's kind, in which as much is known of the user as here."""
    examples: tuple[tuple[tuple[str, ...], str, str], ...]
    if NAME_ASKED.search(_end(question)):
        examples = NAME_TOLD if notes.name else NAME_NOT_TOLD
    else:
        examples = FACTS_TOLD if notes.statements else FACTS_NOT_TOLD
    return [
        f"{Notes(notes.name, statements).line()}\n{_exchange(asked, answer)}".replace(
            "{name}", notes.name or ""
        )
        for statements, asked, answer in examples
    ]


def _one_line(text: str) -> str:
    """A message cannot write lines of the transcript, nor llama.cpp's control tokens."""
    return " ".join(text.replace("\0", " ").replace("<|", "< |").split())


def _end(text: str) -> str:
    """Where a message asks what it asks; no more of it is searched, for it may be very long."""
    return _one_line(text)[-2 * MAX_NOTE_CHARS :]


def _sentences(text: str) -> list[str]:
    """The statements in a text that are short enough to be noted; questions are none."""
    pieces = (_one_line(piece) for piece in re.split(r"(?<=[.!?])\s+|[\r\n]+", text))
    return [piece for piece in pieces if len(piece) <= MAX_NOTE_CHARS and not piece.endswith("?")]


def _is_about_user(text: str) -> bool:
    """Whether the user asks for something that they may have said themselves."""
    sentence = _end(text)
    statement = STATEMENT.match(sentence) and not sentence.endswith("?")
    asks = ABOUT_USER.search(sentence) and not ADVICE.search(sentence)
    return bool(asks) and not statement
