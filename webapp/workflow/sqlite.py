"""A store of workflows' runs in a SQLite file, for programs that need no server."""

from __future__ import annotations

from pathlib import Path

from webapp.clock import Clock
from webapp.memory.arguments import check_database, file_url
from webapp.storage import Database, open_database
from webapp.tenants.user_ids.forms import UserIds
from webapp.workflow.stored import RUNS_A_USER, StoredWorkflows


class SQLiteWorkflowStore(StoredWorkflows):
    """Runs in the file that Switchboard itself uses, safe to share with it, with a memory, and
    with other processes of the machine."""

    def __init__(
        self,
        database: str | Path | Database,
        runs_per_user: int = RUNS_A_USER,
        *,
        user_ids: UserIds | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Given a path or a `sqlite:///` URL, the file is made or its schema upgraded; a
        `Database` is used as it is. The newest runs of a user are kept."""
        owned = isinstance(database, str | Path)
        if isinstance(database, str | Path):
            opened = open_database(file_url(database, "SQLiteWorkflowStore"))
            opened.upgrade()
        else:
            opened = check_database(
                database, "a SQLiteWorkflowStore", "the path of a file", "runs.db"
            )
        super().__init__(
            opened, owned=owned, runs_per_user=runs_per_user, user_ids=user_ids, clock=clock
        )
