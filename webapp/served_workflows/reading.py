"""Reads a tenant's runs for people: page by page, and one with its steps."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.workflow_runs import store as runs
from webapp.storage import Database
from webapp.storage.narrowing import narrow
from webapp.workflow import RunSummary
from webapp.workflow.stored import NEWEST
from webapp.workflow.written import summary_of


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A place in the list of runs: behind the run with this number."""

    number: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first, without their steps; and where older ones begin."""

    rows: tuple[RunSummary, ...] = ()
    following: RunPlace | None = None


def run_page(
    database: Database,
    tenant: int | None,
    *,
    session_id: str | None = None,
    workflow: str | None = None,
    limit: int = 50,
    place: RunPlace | None = None,
) -> RunPage:
    """A page of the tenant's runs; an unknown tenant has none."""
    if tenant is None:
        return RunPage()
    with database.read() as connection:
        narrow(connection, tenant)
        rows = runs.page(
            connection,
            tenant,
            session_id=session_id,
            workflow=workflow,
            before=NEWEST if place is None else place.number,
            most=limit + 1,
        )
    shown = rows[:limit]
    following = RunPlace(shown[-1].number) if len(rows) > limit else None
    return RunPage(tuple(map(summary_of, shown)), following)


def run_of(database: Database, tenant: int | None, run_id: str) -> RunSummary | None:
    """The tenant's run with its steps; None when the tenant has no such run."""
    if tenant is None:
        return None
    with database.read() as connection:
        narrow(connection, tenant)
        row = runs.find(connection, tenant, run_id)
        return None if row is None else summary_of(row, runs.steps(connection, tenant, row.number))
