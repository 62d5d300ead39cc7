"""A store of workflows' runs in a PostgreSQL database, for programs on several hosts."""

from __future__ import annotations

from webapp.clock import Clock
from webapp.memory.arguments import check_database, server_url
from webapp.memory.postgres import prepare
from webapp.storage import Database, open_database
from webapp.tenants.user_ids.forms import UserIds
from webapp.workflow.stored import RUNS_A_USER, StoredWorkflows

CONNECTIONS = 10


class PostgresWorkflowStore(StoredWorkflows):
    """Runs in the database that Switchboard itself uses, safe to share with it, with a memory,
    and with other processes of any host."""

    def __init__(
        self,
        database: str | Database,
        runs_per_user: int = RUNS_A_USER,
        *,
        connections: int = CONNECTIONS,
        user_ids: UserIds | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Given a `postgresql://` URL, the tables are made or upgraded, and so many connections
        are opened at most; a `Database` is used as it is. Needs the package psycopg."""
        owned = isinstance(database, str)
        if isinstance(database, str):
            opened = open_database(
                server_url(database, "PostgresWorkflowStore"), max(1, connections)
            )
            prepare(opened)
        else:
            opened = check_database(
                database,
                "a PostgresWorkflowStore",
                "the URL of a database",
                "postgresql://host/chats",
            )
        super().__init__(
            opened, owned=owned, runs_per_user=runs_per_user, user_ids=user_ids, clock=clock
        )
