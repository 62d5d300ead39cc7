"""A memory in a SQLite file, for programs that use the agent without the server."""

from __future__ import annotations

from pathlib import Path

from webapp.clock import Clock
from webapp.memory.arguments import DEFAULT_SIZE, check_database, check_size, file_url
from webapp.memory.stored import StoredMemory
from webapp.session_state import MAX_BYTES
from webapp.storage import Database, open_database
from webapp.tenants.user_ids.forms import UserIds


class SQLiteMemory(StoredMemory):
    """Conversations in the file that Switchboard itself uses, safe to share with it.

    An `add` that has returned is on disk. `max_size` counts the messages of a session; 0 keeps
    all. Methods raise `StorageUnavailable` when the database cannot do it.
    """

    def __init__(
        self,
        database: str | Path | Database,
        max_size: int = DEFAULT_SIZE,
        *,
        max_state_bytes: int = MAX_BYTES,
        user_ids: UserIds | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Given a path or a `sqlite:///` URL, the file is made or its schema upgraded; a
        `Database` is used as it is."""
        check_size(max_size)
        owned = isinstance(database, str | Path)
        if isinstance(database, str | Path):
            opened = open_database(file_url(database))
            opened.upgrade()
        else:
            opened = check_database(database, "a SQLiteMemory", "the path of a file", "chats.db")
        super().__init__(
            opened,
            max_size,
            owned=owned,
            user_ids=user_ids,
            clock=clock,
            max_state_bytes=max_state_bytes,
        )
