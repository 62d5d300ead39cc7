"""Fixtures that many tests share: settings, an application over a fresh database, its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Tests that start programs, wait for real time or try a great many inputs: `scripts/test fast`
# leaves them out. Whole folders and modules, so that nobody has to remember a mark.
SLOW = (
    *(
        "agent/test_transport.py",
        "browser/",
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
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


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
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty one, for those who need no application."""
    opened = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def model() -> FakeModel:
    return count_model()


@pytest.fixture
def make_app(tmp_path: Path, model: FakeModel) -> Iterator[MakeApp]:
    """Makes applications over `tmp_path`: `make_app(RATE_LIMIT="2/minute", model=…)`."""
    made: list[Flask] = []

    def make(
        model: Model = model, clock: HandClock | None = None, migrated: bool = True, **changes: str
    ) -> Flask:
        app = create_app(settings_for(tmp_path, **changes), model=model, clock=clock)
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
    return postgres.database_of(postgres.create_database())


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A database of this test alone, as the application's role sees it."""
    url = postgres.create_database(postgres_template)
    yield url
    postgres.drop_database(url)


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
