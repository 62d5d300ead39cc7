"""Notes of each user, as tools that remember, recall and forget; who keeps them is a store.

They outlive sessions and what a session's memory leaves out.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from webapp.agent.run_context import RunContext
from webapp.agent.tools import ToolError, Toolkit
from webapp.messages import now_ms
from webapp.periods import iso_utc

MAX_NOTES = 200
MAX_CHARS = 2000
MOST_RECALLED = 20

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]


@dataclass(frozen=True, slots=True)
class Note:
    """One note of a user; its number is the user's own count. Milliseconds since 1970-01-01 UTC."""

    number: int
    text: str
    created_at_ms: int


class Notes(Protocol):
    """Keeps at most `MAX_NOTES` for each user, every one apart from the others'."""

    def add(self, user_id: str, text: str) -> Note | None:
        """The note, which is the one that is kept already when it says the same; None when there
        are as many as may be."""
        ...

    def all(self, user_id: str) -> Sequence[Note]:
        """The newest first."""
        ...

    def remove(self, user_id: str, number: int) -> bool:
        """False when the user has no such note."""
        ...


def notes(store: Notes | None = None) -> Toolkit:
    """The tools remember, recall and forget; without a store they are kept in this process."""
    kept = InMemoryNotes() if store is None else store

    def remember(text: Text, context: RunContext) -> str:
        """Keep a note about the user, for this and all later conversations.

        Args:
            text: what to keep, as one short statement
        """
        if not text.strip():
            raise ToolError("A note cannot be blank.")
        note = kept.add(context.user_id, text.strip())
        if note is None:
            raise ToolError(f"There are {MAX_NOTES} notes already; forget one first.")
        return f"Kept as note {note.number}."

    def recall(context: RunContext, query: str = "") -> list[dict[str, object]]:
        """Read what was kept about the user.

        Args:
            query: words that must all be in a note; empty for the newest notes
        """
        words = query.casefold().split()
        found = [
            note
            for note in kept.all(context.user_id)
            if all(word in note.text.casefold() for word in words)
        ]
        return [
            {"note": note.number, "text": note.text, "kept_at": iso_utc(note.created_at_ms)}
            for note in found[:MOST_RECALLED]
        ]

    def forget(note: int, context: RunContext) -> str:
        """Forget a note.

        Args:
            note: the number that recall gave
        """
        if not kept.remove(context.user_id, note):
            raise ToolError(f"There is no note {note}.")
        return f"Note {note} is forgotten."

    return Toolkit("notes", (remember, recall, forget))


class InMemoryNotes:
    """In this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[str, list[Note]] = {}

    def add(self, user_id: str, text: str) -> Note | None:
        with self._lock:
            own = self._notes.setdefault(user_id, [])
            for note in own:
                if note.text == text:
                    return note
            if len(own) >= MAX_NOTES:
                return None
            note = Note(own[0].number + 1 if own else 1, text, now_ms())
            own.insert(0, note)
            return note

    def all(self, user_id: str) -> Sequence[Note]:
        with self._lock:
            return list(self._notes.get(user_id, ()))

    def remove(self, user_id: str, number: int) -> bool:
        with self._lock:
            own = self._notes.get(user_id, [])
            left = [note for note in own if note.number != number]
            self._notes[user_id] = left
            return len(left) < len(own)
