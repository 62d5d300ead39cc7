"""What may be handed to a memory: the same checks for every backend; storing is not here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from webapp.errors import ConfigurationError, InvalidInput
from webapp.ids import check_session_id, check_user_id
from webapp.messages import Message
from webapp.setting_kinds import database_url
from webapp.storable import is_storable
from webapp.storage.database import SERVER_SCHEMES, Database

DEFAULT_USER = "default"
DEFAULT_SIZE = 100
IN_MEMORY = {"SQLiteMemory": "InMemory", "SQLiteWorkflowStore": "InMemoryWorkflowStore"}


def user_or_default(user_id: str | None) -> str:
    """The id of the user; one that is left out or empty is the default user."""
    if user_id is None or user_id == "":
        return DEFAULT_USER
    return check_user_id(user_id)


def session_or_all(session_id: str | None) -> str | None:
    """The id of the session; None, for all of the user's, stays so."""
    return None if session_id is None else check_session_id(session_id)


def check_messages(messages: Iterable[Message]) -> None:
    """Refuses what is not a message, and text that cannot be stored."""
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"a memory takes messages, not {type(message).__name__}")
        if not isinstance(message.content, str):
            raise TypeError(f"a message's content is a str, not {type(message.content).__name__}")
        texts = [message.content, message.id, message.tool_call_id or ""]
        for call in message.tool_calls:
            texts += (call.id, call.name, call.arguments)
        if not all(map(is_storable, texts)):
            raise not_storable()


def check_size(max_size: object) -> int:
    """The bound that was given, if it is a number."""
    if not isinstance(max_size, int) or isinstance(max_size, bool):
        raise TypeError(f"max_size is a whole number, not {type(max_size).__name__}")
    return max_size


def file_url(place: str | Path, what: str = "SQLiteMemory") -> str:
    """The URL of a database's file, which may be given as one."""
    text = str(place)
    url = text if text.startswith("sqlite:///") else f"sqlite:///{text}"
    if ":memory:" in text:
        raise ConfigurationError(
            f"A {what} must name a file; without one there is {IN_MEMORY[what]}()."
        )
    try:
        return database_url(url)
    except ValueError as error:
        raise ConfigurationError(f"The database of a {what} {error}.") from None


def server_url(url: str, what: str = "PostgresMemory") -> str:
    """The URL of a database on a PostgreSQL server."""
    if not url.startswith(SERVER_SCHEMES):
        raise ConfigurationError(
            f"A {what} is given the URL of a database:"
            " postgresql://user:password@host:5432/database."
        )
    try:
        return database_url(url)
    except ValueError as error:
        raise ConfigurationError(f"The database of a {what} {error}.") from None


def check_database(database: Database, memory: str, place: str, example: str) -> Database:
    """The database, if the argument is one; else it says what the memory is given."""
    if not callable(getattr(database, "write", None)):
        name = memory.rpartition(" ")[2]
        raise TypeError(
            f"{memory} is given {place}, such as {name}({example!r}), not {type(database).__name__}"
        )
    return database


def not_storable() -> InvalidInput:
    """The refusal of text that no database takes."""
    sentence = "a message cannot contain a NUL or a lone surrogate"
    return InvalidInput(sentence, fields={"message": sentence})
