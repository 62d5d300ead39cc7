"""The second wall between tenants: PostgreSQL keeps a unit of work to one tenant's rows, also when
a statement forgets to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import psycopg
import pytest

from tests.conftest import services_of, settings_for
from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer
from tests.fakes import count_model
from webapp import create_app
from webapp.errors import StorageUnavailable
from webapp.memory.notes import store as notes
from webapp.memory.paused_turns import store as paused_turns
from webapp.memory.summaries import store as summaries
from webapp.memory.summary import Summary
from webapp.storage import Connection, Database, open_database
from webapp.storage.narrowing import narrow
from webapp.tenant_data.storing import store_refusals
from webapp.usage.records import Refusal
from webapp.usage.rollup.worker import roll_up
from webapp.workflow import Step, Workflow
from webapp.workflow.stored import StoredWorkflows

WALLED = {
    "tenants": "id",
    **dict.fromkeys(
        (
            *("sessions", "messages", "idempotency", "requests", "usage", "refusals"),
            *("workflow_runs", "workflow_steps", "paused_turns", "notes", "session_summaries"),
        ),
        "tenant_id",
    ),
}
# `audit` is the operators', and names a tenant whom somebody acted on. `tenant_search` holds ids
# only, and is asked by lists of all tenants: PostgreSQL would not use its index behind a wall.
NOT_WALLED = {"audit", "tenant_search"}


@pytest.fixture(params=["direct", "pooled"])
def url(request: pytest.FixtureRequest, postgres_url: str) -> str:
    """Of a database of its own, straight or through PgBouncer."""
    if request.param == "direct":
        return postgres_url
    pooler: PgBouncer = request.getfixturevalue("pgbouncer")
    return pooler.url(postgres_url)


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    """Two tenants, 1 and 2, who have something in every table."""
    app = create_app(settings_for(tmp_path, DATABASE_URL=url), model=count_model())
    services, client = services_of(app), app.test_client()
    for user in ("alice", "bob"):
        for _ in range(2):
            body = {"user_id": user, "message": "Hi"}
            assert client.post("/chat", json=body, headers={"Idempotency-Key": user}).status_code
        runs = StoredWorkflows(services.database)
        Workflow("w", [Step("step", lambda context: None)], store=runs).run("Hi", user_id=user)
        runs.close()
    roll_up(services.database)

    def refuse(connection: Connection) -> None:
        for number in (1, 2):
            store_refusals(connection, number, Refusal(60_000, "rate_limited", True), 3)
            notes.add(connection, number, "likes tea", 1)
            assert paused_turns.put(connection, number, "default", "{}", 1, 2)
            summaries.restore(connection, number, "default", Summary("likes tea", "msg-1", 1))

    services.database.write(refuse)
    yield services.database
    services.close()


def rows(database: Database, table: str, tenant: int | None = None) -> set[int]:
    """Whose rows a statement without a WHERE sees."""
    with database.read() as connection:
        if tenant is not None:
            narrow(connection, tenant)
        found = connection.execute(f"SELECT DISTINCT {WALLED[table]} FROM {table}", {})
        return {row[0] for row in found.fetchall()}


def test_a_statement_that_forgets_its_where_stays_with_the_tenant(database: Database) -> None:
    for table in reversed(WALLED):  # what refers to a row goes before it
        stays_with_the_tenant(database, table)


def stays_with_the_tenant(database: Database, table: str) -> None:
    column = WALLED[table]
    everyone = rows(database, table)
    assert everyone >= {1, 2}, table
    assert rows(database, table, tenant=1) == {1}, table
    assert rows(database, table, tenant=77) == set(), table
    with database.read() as connection:
        own = connection.execute(f"SELECT COUNT(*) FROM {table} WHERE {column} = 1", {}).fetchone()

    def change(connection: Connection) -> int:
        narrow(connection, 1)
        return connection.execute(f"UPDATE {table} SET {column} = {column}", {}).rowcount

    def give_away(connection: Connection) -> None:
        narrow(connection, 1)
        connection.execute(f"UPDATE {table} SET {column} = 2", {})

    def delete(connection: Connection) -> None:
        narrow(connection, 1)
        connection.execute(f"DELETE FROM {table}", {})

    assert database.write(change) == own[0], table
    with pytest.raises(StorageUnavailable):
        database.write(give_away)
    database.write(delete)
    assert rows(database, table) == everyone - {1}, table


def test_a_unit_that_is_not_narrowed_sees_everyone_again(database: Database) -> None:
    for _ in range(3):
        assert rows(database, "messages", tenant=2) == {2}
        assert rows(database, "messages") == {1, 2}

    def nothing_is_done(connection: Connection) -> None:
        narrow(connection, 1)

    def narrowed_late(connection: Connection) -> None:
        connection.execute("SELECT 1", {})
        narrow(connection, 1)

    for work in (nothing_is_done, narrowed_late):
        database.write(work)
        assert rows(database, "messages") == {1, 2}


def test_a_client_who_says_nothing_sees_and_changes_nothing(database: Database, url: str) -> None:
    """Behind the pooler it may be given the very connection that a unit of work has left."""
    rows(database, "messages", tenant=1)
    with psycopg.connect(url, prepare_threshold=None) as client:
        for table, said in product(WALLED, (None, "", "77")):
            if said is not None:
                client.execute("SELECT set_config('switchboard.tenant', %s, true)", (said,))
            assert client.execute(f"SELECT COUNT(*) FROM {table}".encode()).fetchone() == (0,)
            assert client.execute(f"DELETE FROM {table}".encode()).rowcount == 0
            client.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            client.execute(
                "INSERT INTO tenants (user_id, created_at, last_active_at) VALUES ('eve', 1, 1)"
            )
    assert rows(database, "tenants") == {1, 2}


def test_every_table_of_tenants_is_behind_the_wall(
    postgres: PostgresServer, postgres_template: str
) -> None:
    found = postgres.execute(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity"
        " AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND (a.attname = 'tenant_id' OR (c.relname, a.attname) = ('tenants', 'id'))",
        postgres_template,
    )
    assert {name for name, walled in found if walled} == set(WALLED)
    assert {name for name, walled in found if not walled} == NOT_WALLED


# Whoever has not narrowed its unit of work sees nothing of these.
NARROWED_ALONE = """
    CREATE POLICY narrowed_alone ON {table} AS RESTRICTIVE
    USING (current_setting('switchboard.tenant', true) <> '*')
"""


def test_a_turn_and_every_act_for_one_tenant_are_narrowed(
    postgres: PostgresServer, url: str, database: Database, tmp_path: Path
) -> None:
    name = postgres.database_of(url)
    with psycopg.connect(postgres.url(name, superuser=True), autocommit=True) as superuser:
        for table in ("sessions", "messages", "idempotency"):
            superuser.execute(NARROWED_ALONE.format(table=table).encode())
    app = create_app(settings_for(tmp_path, DATABASE_URL=url), model=count_model())
    client = app.test_client()

    def say(user: str, key: str) -> str:
        body = {"user_id": user, "message": "Hi"}
        answer = client.post("/chat", json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text
        return str(answer.json["reply"])  # type: ignore[index]  # an object, by its status

    before = say("alice", "another")
    assert say("alice", "another") == before
    assert say("alice", "third") != before
    messages = client.get("/api/tenants/alice/messages").json
    assert messages is not None
    assert len(messages["messages"]) == 6
    exported = client.get("/api/tenants/alice/export").data
    assert exported.count(b'"type":"message"') == 6
    imported = client.post(
        "/api/tenants/carol/import", data=exported, content_type="application/x-ndjson"
    )
    assert imported.json is not None
    assert imported.json["messages"] == 6, imported.text
    assert client.delete("/api/tenants/alice/messages").json == {"cleared": 6}
    assert client.patch("/api/tenants/bob", json={"blocked": True}).status_code == 200
    assert client.delete("/api/tenants/carol").status_code == 200
    assert client.get("/api/tenants/bob/metrics?window=1h").status_code == 200
    services_of(app).close()


def test_a_role_that_may_walk_around_the_wall_is_said_to(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = postgres.database_of(postgres_url)
    for url, doubted in ((postgres.url(name, superuser=True), True), (postgres_url, False)):
        database = open_database(url)
        assert any("second wall" in doubt for doubt in database.doubts()) is doubted
        database.close()
