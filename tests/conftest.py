"""Fixtures that many tests share: settings, an application over a fresh database, its client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings

from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer
from tests.fakes import FakeModel, HandClock, count_model
from webapp import create_app
from webapp.agent import Model
from webapp.services import Services
from webapp.settings import LoadedSettings, load_settings, variable_name
from webapp.storage import Database, open_database
from webapp.web.context import EXTENSION
from webapp.workflow import Workflow

# Nobody's terminal: pytest itself leaves its width to the processes that it starts (by readline).
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Tests that start programs, wait for real time or try a great many inputs: `scripts/test fast`
# leaves them out. Whole folders and modules, so that nobody has to remember a mark.
SLOW = (
    *(
        "agent/mcp/",
        "agent/test_transport.py",
        "browser/",
        "deploy/",
        "databases/",
        "local_model/",
        "server/",
        "storage/sqlite/test_wal.py",
    ),
    *("cli/", "memory/test_sqlite_memory.py", "storage/sqlite/test_limits.py", "web/test_fuzz.py"),
    *("test_benchmarks.py", "test_documentation.py", "test_extensions.py", "test_package.py"),
    *("test_setup.py", "usage/test_rollup_kill.py", "web/test_limits.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
        if "postgres" in getattr(item, "fixturenames", ()) or engine == "postgres":
            item.add_marker(pytest.mark.postgres)


# Tests that are run with both engines where they ask for a database or an application; the others
# are run with SQLite.
ENGINES = ("sqlite", "postgres")
OF_BOTH_ENGINES = (
    *("accounts/", "chat/", "tenant_data/", "tenants/", "usage/", "workflow/"),
    *(
        "memory/test_conversation",
        "server/test_several_workers.py",
        "test_housekeeping.py",
        "test_privacy.py",
        "test_shared_turns.py",
        "web/api/test_chat.py",
        "web/api/test_sessions.py",
        "web/api/test_states.py",
        "web/api/test_tenants.py",
        "web/api/test_metrics.py",
        "web/api/test_workflows.py",
    ),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        path = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
        one = metafunc.definition.get_closest_marker("sqlite")
        both = path.startswith(OF_BOTH_ENGINES) and one is None
        metafunc.parametrize("engine", ENGINES if both else ENGINES[:1])


# As a superuser may: without the triggers that keep the audit log, and with numbers from 1 on.
EMPTY = """
DO $$
DECLARE place RECORD;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR place IN SELECT relname, relkind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
            AND relname NOT IN ('latency_buckets', 'switchboard_schema', 'usage_rollup')
    LOOP
        IF place.relkind = 'S' THEN
            PERFORM setval(place.relname::regclass, 1, false);
        ELSE
            EXECUTE format('DELETE FROM %I', place.relname);
        END IF;
    END LOOP;
    UPDATE usage_rollup SET through = 0, mark = 0, mark_xid = 0;
END $$
"""


MakeApp = Callable[..., Flask]
SECRET = "Zk3vQ9xTf0aLrWm2-tests-YpNc7HdUb5EsGj8K"


def settings_for(folder: Path, **changes: str) -> LoadedSettings:
    """Settings as `dev` has them, with the given variables (without their prefix) changed."""
    values = {
        "AUTH": "open",
        "SECRET_KEY": SECRET,
        "RATE_LIMIT": "100000/minute",
        "WORKERS": "1",
        **changes,
    }
    environment = {variable_name(name.lower()): value for name, value in values.items()}
    return replace(load_settings(environment, folder), for_this_machine=True)


def services_of(app: Flask) -> Services:
    services = app.extensions[EXTENSION]
    assert isinstance(services, Services)
    return services


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def database_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Of a database of this test alone, on the engine that it is run with; see ENGINES."""
    if engine == "postgres":
        emptied: Callable[[], str] = request.getfixturevalue("emptied_postgres")
        return emptied()
    return f"sqlite:///{tmp_path / 'switchboard.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty one, for those who need no application."""
    opened = open_database(database_url)
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def model() -> FakeModel:
    return count_model()


@pytest.fixture
def make_app(tmp_path: Path, database_url: str, model: FakeModel) -> Iterator[MakeApp]:
    """Makes applications over one database: `make_app(RATE_LIMIT="2/minute", model=…)`."""
    made: list[Flask] = []

    def make(
        model: Model = model,
        clock: HandClock | None = None,
        migrated: bool = True,
        workflows: Iterable[Workflow] | None = None,
        **changes: str,
    ) -> Flask:
        changes = {"DATABASE_URL": database_url, **changes}
        app = create_app(
            settings_for(tmp_path, **changes), model=model, clock=clock, workflows=workflows
        )
        if migrated:
            services_of(app).upgrade_database()
        made.append(app)
        return app

    yield make
    for app in made:
        services_of(app).close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests; who kills or fills one starts a `PostgresServer` of its own."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of the database that each test's own one is a copy of: made once, then left."""
    url = postgres.create_database()
    database = open_database(url)
    database.upgrade()
    database.close()
    return postgres.database_of(url)


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A database of this test alone, as the application's role sees it."""
    url = postgres.create_database(postgres_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def emptied_postgres(postgres: PostgresServer, postgres_template: str) -> Callable[[], str]:
    """Empties one database and gives its URL: a twentieth of the time that a new one takes."""
    url = postgres.create_database(postgres_template)
    name = postgres.database_of(url)

    def emptied() -> str:
        postgres.execute(EMPTY, name)
        return url

    return emptied


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The same without a schema."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """A pooler in transaction mode before that server: `pgbouncer.url(postgres_url)`."""
    pooler = PgBouncer(postgres)
    yield pooler
    pooler.close()
