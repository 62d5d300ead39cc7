"""Pages of tenants: every one once and in order, under each sort and filter, in both directions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webapp.errors import InvalidInput
from webapp.storage import Connection, Database, open_database
from webapp.tenants.listing import store as listing
from webapp.tenants.listing.query import SORTS, Position, TenantFilter, TenantQuery, key_of
from webapp.tenants.rows import TenantRow

NOW = 1_700_000_000_000
HOUR = 3_600_000


@dataclass(frozen=True)
class Made:
    """What a tenant of these tests is made of; small ranges, so that there are many ties."""

    user_id: str
    last_active_at: int = NOW
    message_count: int = 0
    request_count: int = 0
    error_count: int = 0
    rate_limited_count: int = 0
    total_tokens: int = 0
    p95_ms: int = 0
    blocked_at: int | None = None


def fill(database: Database, made: list[Made]) -> None:
    def work(connection: Connection) -> None:
        connection.execute("DELETE FROM tenants", {})
        connection.executemany(
            "INSERT INTO tenants (user_id, created_at, last_active_at, message_count,"
            " request_count, error_count, refused_count, total_tokens, p95_ms, blocked_at)"
            " VALUES (:user_id, 0, :last_active_at, :message_count, :request_count,"
            " :error_count, :rate_limited_count, :total_tokens, :p95_ms, :blocked_at)",
            [
                {name: getattr(tenant, name) for name in Made.__dataclass_fields__}
                for tenant in made
            ],
        )

    database.write(work)


def pages(
    database: Database, query: TenantQuery, step: Callable[[listing.Page], Position | None]
) -> Iterator[listing.Page]:
    while True:
        with database.read() as connection:
            page = listing.page(connection, query, NOW)
        yield page
        position = step(page)
        if position is None:
            return
        query = replace(query, position=position)


def walk(database: Database, query: TenantQuery) -> list[TenantRow]:
    return [row for page in pages(database, query, lambda p: p.following) for row in page.rows]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("listing") / "switchboard.db"
    opened = open_database(f"sqlite:///{path}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture(params=[0, 5000], ids=["walking the index", "looking few up"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Both ways to answer must give the same: with a limit of 0 nothing is ever few."""
    monkeypatch.setattr(listing, "FEW", request.param)
    return int(request.param)


small = st.integers(0, 3)
tenants = st.lists(
    st.builds(
        Made,
        user_id=st.text(st.sampled_from("abAB-é%_7"), min_size=1, max_size=6),
        last_active_at=small.map(lambda hours: NOW - hours * HOUR),
        message_count=small,
        request_count=small,
        error_count=small,
        rate_limited_count=small,
        total_tokens=small,
        p95_ms=small,
        blocked_at=st.none() | st.integers(1, 3),
    ),
    max_size=25,
    unique_by=lambda tenant: tenant.user_id,
)
filters = st.builds(
    TenantFilter,
    search=st.sampled_from(["", "a", "ab", "A-b", "é", "%", "_", "É7", "aba"]),
    blocked=st.none() | st.booleans(),
    active_within_ms=st.none() | st.just(HOUR),
    has_errors=st.booleans(),
    prefix=st.sampled_from(["", "a", "é"]),
)


def matches(tenant: Made, asked: TenantFilter) -> bool:
    return (
        asked.search.lower() in tenant.user_id.lower()
        and (asked.blocked is None or asked.blocked == (tenant.blocked_at is not None))
        and (asked.active_within_ms is None or tenant.last_active_at >= NOW - HOUR)
        and (not asked.has_errors or tenant.error_count > 0)
        and tenant.user_id.startswith(asked.prefix)
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=tenants, asked=filters, sort=st.sampled_from(SORTS), limit=st.integers(1, 7))
def test_every_tenant_comes_once_and_in_order(
    shared: Database, few: int, made: list[Made], asked: TenantFilter, sort: str, limit: int
) -> None:
    fill(shared, made)
    query = TenantQuery(asked, sort, limit)
    found = walk(shared, query)
    assert sorted(row.user_id for row in found) == sorted(
        tenant.user_id for tenant in made if matches(tenant, asked)
    )
    keys: list[tuple[Any, int]] = [(_comparable(key_of(query, row)), row.number) for row in found]
    assert keys == sorted(keys, reverse=query.descending)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=tenants, sort=st.sampled_from(SORTS), limit=st.integers(1, 7))
def test_the_way_back_shows_the_same_pages(
    shared: Database, few: int, made: list[Made], sort: str, limit: int
) -> None:
    fill(shared, made)
    query = TenantQuery(sort=sort, limit=limit)
    there = list(pages(shared, query, lambda page: page.following))
    last = there[-1]
    assert there[0].preceding is None
    assert last.following is None
    if last.preceding is None:
        return
    back = pages(shared, replace(query, position=last.preceding), lambda page: page.preceding)
    assert [page.rows for page in back] == [page.rows for page in there[-2::-1]]


def _comparable(key: int | str) -> int | bytes:
    return key.encode() if isinstance(key, str) else key


def test_a_search_finds_any_part_in_either_case(database: Database) -> None:
    fill(database, [Made("Alice-acme"), Made("bob"), Made("ÉCOLE-7"), Made("100%_sure")])

    def found(search: str) -> list[str]:
        return [row.user_id for row in walk(database, TenantQuery(TenantFilter(search=search)))]

    assert found("ALICE") == found("e-ac") == ["Alice-acme"]
    assert found("école") == ["ÉCOLE-7"]
    assert found("%_s") == ["100%_sure"]
    assert found("%") == found("_") == ["100%_sure"]
    assert found('bo"b') == found("' OR 1=1 --") == found("nobody") == []
    assert found("alice" * 60) == []
    for odd in ("\x00bob", "bo\x00b", "\x00", "bob\n", "\ud800", "bob\udfff", "AND OR", "*^()"):
        assert found(odd) == []


def test_trigrams_that_stand_apart_are_no_match(database: Database) -> None:
    fill(database, [Made("abcxbcd")])
    assert walk(database, TenantQuery(TenantFilter(search="abcd"))) == []


def test_a_first_page_names_the_exact_match(database: Database) -> None:
    fill(database, [Made("alice", last_active_at=1), Made("alice-2"), Made("alice-3")])
    with database.read() as connection:
        query = TenantQuery(TenantFilter(search="alice"), limit=1)
        page = listing.page(connection, query, NOW)
        assert page.exact is not None
        assert page.exact.user_id == "alice"
        later = listing.page(connection, replace(query, position=page.following), NOW)
        assert later.exact is None


def test_a_deleted_row_does_not_break_the_way_on(database: Database) -> None:
    fill(database, [Made(f"user-{n}") for n in range(6)])
    query = TenantQuery(sort="user_id", limit=2)
    with database.read() as connection:
        first = listing.page(connection, query, NOW)
    database.write(lambda c: c.execute("DELETE FROM tenants WHERE user_id = 'user-1'", {}))
    with database.read() as connection:
        second = listing.page(connection, replace(query, position=first.following), NOW)
    assert [row.user_id for row in second.rows] == ["user-2", "user-3"]


@pytest.mark.parametrize("bad", [{"sort": "id"}, {"sort": ""}, {"limit": 0}, {"limit": 201}])
def test_a_query_that_is_none_names_its_field(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        TenantQuery(**bad)
    assert list(raised.value.fields) == list(bad)


@pytest.mark.sqlite
def test_no_page_sorts_the_table(database: Database, tmp_path: Path) -> None:
    """Each statement of a plain walk uses the index of its sort, and none builds a B-tree."""
    fill(database, [Made(f"user-{n}", blocked_at=n % 2 or None) for n in range(30)])
    reader = sqlite3.connect(tmp_path / "switchboard.db")
    for sort in SORTS:
        seen: list[str] = []
        reader.set_trace_callback(seen.append)
        query = TenantQuery(sort=sort, limit=5)
        page = listing.page(reader, query, NOW)
        listing.page(reader, replace(query, position=page.following), NOW)
        reader.set_trace_callback(None)
        for sql in seen:
            plan = reader.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
            assert not any("TEMP B-TREE" in step[3] for step in plan), (sort, sql, plan)
    reader.close()
