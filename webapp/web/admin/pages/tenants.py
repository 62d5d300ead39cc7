"""The list of tenants: searched, filtered, sorted over all rows; the same view as CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from itertools import islice
from typing import Literal

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp.periods import DAY_MS, HOUR_MS
from webapp.tenants.fields import tenant_fields
from webapp.tenants.listing.query import (
    DEFAULT_SORT,
    MAX_LIMIT,
    Position,
    TenantFilter,
    TenantQuery,
)
from webapp.tenants.rows import TenantRow
from webapp.tenants.store import count
from webapp.web.admin.display.downloads import csv_download, json_download
from webapp.web.admin.display.list_view import ListView, Pages, every_row
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

ROWS = 50
MAX_DOWNLOADED = 1_000_000
ACTIVE_MS = {"1h": HOUR_MS, "24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS}
CSV_HEAD = (
    "user_id",
    "message_count",
    "request_count",
    "error_count",
    "rate_limited_count",
    "total_tokens",
    "p95_ms",
    "last_active_at",
    "created_at",
    "blocked",
    "rate_limit",
    "token_budget",
    "input_tokens",
    "output_tokens",
    "dropped_session_count",
)


class TenantsQuery(FormShape):
    """The query of the list."""

    search: str = Field(default="", max_length=255)
    state: Literal["", "open", "blocked", "failing"] = ""
    active: Literal["", "1h", "24h", "7d", "30d"] = ""
    sort: str = Field(default=DEFAULT_SORT, max_length=40)
    cursor: Cursor | None = None

    def asked(self) -> TenantQuery:
        """The list from its beginning."""
        narrowed = TenantFilter(
            search=self.search.strip(),
            blocked={"open": False, "blocked": True}.get(self.state),
            has_errors=self.state == "failing",
            active_within_ms=ACTIVE_MS.get(self.active),
        )
        return TenantQuery(narrowed, self.sort, ROWS)

    def view(self, endpoint: str) -> ListView:
        filters = {"search": self.search, "state": self.state, "active": self.active}
        return ListView(url_for(endpoint), filters, self.sort)


def tenants() -> ResponseReturnValue:
    query = bind_page(TenantsQuery)
    asked, view = query.asked(), query.view("admin.tenants")
    of_list = ("tenants", asked.sort, *astuple(asked.filter))
    position = read_cursor(query.cursor, Position, *of_list)
    page = services().directory.page(replace(asked, position=position))

    def url(place: Position | None) -> str | None:
        return None if place is None else view.url(cursor=write_cursor(place, *of_list))

    return render_template(
        "admin/tenants.html",
        view=view,
        filters={"search": query.search, "state": query.state, "active": query.active},
        rows=page.rows,
        exact=page.exact,
        pages=Pages(
            previous_url=url(page.preceding),
            next_url=url(page.following),
            first_url=view.url() if query.cursor else None,
        ),
        total=None if view.filtered else _total(),
        csv_url=query.view("admin.tenants_csv").url(),
        json_url=query.view("admin.tenants_json").url(),
    )


def tenants_csv() -> ResponseReturnValue:
    rows = _all_rows(bind_page(TenantsQuery).asked())
    return csv_download("tenants.csv", CSV_HEAD, (_cells(row) for row in rows))


def tenants_json() -> ResponseReturnValue:
    rows = _all_rows(bind_page(TenantsQuery).asked())
    return json_download("tenants.json", "tenants", map(tenant_fields, rows))


def _cells(row: TenantRow) -> tuple[object, ...]:
    fields = tenant_fields(row)
    fields["blocked"] = "yes" if row.blocked else "no"
    return tuple(fields[name] for name in CSV_HEAD)


def _all_rows(query: TenantQuery) -> Iterator[TenantRow]:
    directory, query = services().directory, replace(query, limit=MAX_LIMIT)
    found = every_row(lambda position: directory.page(replace(query, position=position)))
    return islice(found, MAX_DOWNLOADED)


def _total() -> int:
    with services().database.read() as connection:
        return count(connection)
