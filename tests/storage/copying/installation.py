"""An installation with something in every table, and its rows as another program reads them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask

from tests.conftest import services_of
from webapp.accounts import submissions
from webapp.accounts.audit import Actor
from webapp.errors import Unauthenticated
from webapp.memory import store
from webapp.memory.notes import store as notes
from webapp.memory.paused_turns import store as paused_turns
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.messages import Message
from webapp.services import Services
from webapp.storage import Connection, Database
from webapp.tenant_data.storing import store_refusals
from webapp.tenants import store as tenants
from webapp.tenants.counters import store as counters
from webapp.tenants.restrictions.change import TenantChange
from webapp.usage.records import Refusal
from webapp.usage.rollup.worker import roll_up
from webapp.usage.tool_calls import store as tool_calls
from webapp.workflow import ExecutionContext, Step, Workflow
from webapp.workflow.stored import StoredWorkflows

PASSWORD = "a long pass phrase of the tests"
BY = Actor.command_line()
# Rows of these belong to one file or one server.
OWN_NAMES = ("copying", "wal_link", "write_trial")
# What another engine has otherwise, or need not outlive a crash.
OWN_OF_SQLITE = ("_sqlite_migrations", "sqlite_sequence", "tenant_search")
OWN_OF_POSTGRES = ("switchboard_schema", "tenant_search", "turn_workers", "turn_lines", "turn_keys")
OWN_COLUMNS = {"messages": {"tenant_id"}, "usage_rollup": {"mark", "mark_xid"}}

Rows = dict[str, list[tuple[Any, ...]]]


def note(context: ExecutionContext) -> str:
    context.session_state.set("noted", "\u2028")
    return f"{context.text} noted"


def live(app: Flask) -> Services:
    """Uses everything once, so that no table stays empty."""
    services, client = services_of(app), app.test_client()
    for number, user in enumerate(["alice", "bob", "Zoë 👩‍👩‍👧", "gone"]):
        for session in ("default", "work"):
            body = {"user_id": user, "message": f"¿qué? {number}\u2028", "session_id": session}
            headers = {"Idempotency-Key": f"key-{number}-{session}"}
            assert client.post("/chat", json=body, headers=headers).status_code == 200
    runs = StoredWorkflows(services.database, user_ids=services.user_ids)
    workflow = Workflow("notes", [Step("note", note)], store=runs)
    for user in ("bob", "gone"):
        workflow.run("¿qué?", user_id=user)
    services.directory.update("alice", TenantChange(blocked=True, rate_limit="5/minute"))
    services.directory.update("gone", TenantChange(blocked=True))
    services.acts.forget("gone")
    roll_up(services.database)
    client.post("/chat", json={"user_id": "bob", "message": "after the sums"})
    admin = services.admins.create("olga", by=BY, password=PASSWORD)
    services.sign_in.make_link(admin.name, by=BY)
    services.sign_in.with_password("olga", PASSWORD, address="127.0.0.1")
    with pytest.raises(Unauthenticated):
        services.sign_in.with_password("olga", "wrong", address="127.0.0.2")
    services.keys.create("backend", role="chat", users="org-*", by=BY)
    services.keys.create("one user", role="chat", users="bob", by=BY)
    current = services.configurations
    with services.database.read() as connection:
        wanted = replace(current.current(connection), instructions="Be brief.\nAlways.")
    current.change(wanted, by="olga")

    def refuse(connection: Connection) -> None:
        number = tenants.ensure(connection, services.user_ids.stored("bob"), 1)
        store_refusals(connection, number, Refusal(60_000, "rate_limited", True), 3)
        for at in (1, 10**10):
            tool_calls.add(connection, tool_calls.counted([("add", "ok", 0.01)]), at)
        tool_calls.sum_up(connection, 10**9, 10)
        notes.add(connection, number, "likes tea", 1)
        paused_turns.put(connection, number, "waits", "{}", 1, 2)
        summaries.restore(connection, number, "default", Summary("notes \u2028", "msg-1", 1))
        submissions.take(connection, "0000000000001-a-form", "done", 1)

    services.database.write(refuse)
    return services


def talk(database: Database, users: int, messages: int = 10) -> None:
    """Many rows, quickly."""

    def work(connection: Connection) -> None:
        for index in range(users):
            number = tenants.ensure(connection, f"user-{index}", index)
            said = [Message.user(f"{index}.{turn}") for turn in range(messages)]
            store.append(connection, number, "default", said, 0, index)
            counters.count_messages(connection, number, messages, index)

    database.write_long(work)


def rows_of(url: str) -> Rows:
    """Every row of every table but the engine's own, columns by name."""
    if url.startswith("postgresql://"):
        return rows_of_postgres(url)
    return rows_of_sqlite(Path(url.removeprefix("sqlite:///")))


def rows_of_sqlite(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: _sorted(name, connection.execute(f"SELECT * FROM {name}"))
            for (name,) in names
            if not name.startswith(OWN_OF_SQLITE)
        }


def rows_of_postgres(url: str) -> Rows:
    # Who says nothing sees no tenant's rows.
    with psycopg.connect(url, options="-c switchboard.tenant=*") as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return {
            name: _sorted(name, connection.execute(f"SELECT * FROM {name}".encode()))
            for (name,) in names
            if name not in OWN_OF_POSTGRES
        }


def _sorted(table: str, cursor: Any) -> list[tuple[Any, ...]]:
    columns = [column[0] for column in cursor.description]
    own = OWN_COLUMNS.get(table, set())
    order = sorted(
        (index for index, name in enumerate(columns) if name not in own),
        key=lambda index: str(columns[index]),
    )
    rows = (tuple(row[index] for index in order) for row in cursor.fetchall())
    return sorted((row for row in rows if row[0] not in OWN_NAMES), key=repr)
