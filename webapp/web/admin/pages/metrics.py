"""Request metrics: everyone's over a window, and each tenant's, ranked or found by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp.storage import Connection
from webapp.tenants.listing.query import TenantFilter, TenantQuery
from webapp.usage.figures import Totals
from webapp.usage.ranking.store import MAX_LIMIT, Place, RankingPage, per_tenant
from webapp.usage.summary import totals
from webapp.usage.windows import WINDOWS, Window
from webapp.web.admin.display.charts import latency_chart, traffic_chart
from webapp.web.admin.display.downloads import csv_download
from webapp.web.admin.display.list_view import ListView, Pages, every_row
from webapp.web.admin.figures.cache import figure_cache
from webapp.web.admin.figures.windows import FRESH_SECONDS, WindowName, everyone
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

ROWS = 50
RANKING_SECONDS = 30.0
RANKING_PATIENCE_SECONDS = 0.5
MAX_DOWNLOADED = 2000
CSV_HEAD = (
    "user_id",
    "requests",
    "errors",
    "rate_limited",
    "input_tokens",
    "output_tokens",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "first_token_p50_ms",
)
_FIGURES: dict[str, Callable[[Totals], int | None]] = {
    "requests": lambda of: of.requests,
    "errors": lambda of: of.errors,
    "rate_limited": lambda of: of.rate_limited,
    "tokens": lambda of: of.tokens,
    "p50": lambda of: of.latency.p50,
    "p95": lambda of: of.latency.p95,
    "p99": lambda of: of.latency.p99,
    "first_token": lambda of: of.first_token.p50,
}


class MetricsQuery(FormShape):
    """The query of the page."""

    window: WindowName = "24h"
    search: str = Field(default="", max_length=255)
    sort: str = Field(default="-requests", max_length=40, pattern=r"^-?[a-z0-9_]+$")
    cursor: Cursor | None = None

    def view(self, endpoint: str) -> ListView:
        params = {"window": self.window, "search": self.search}
        return ListView(url_for(endpoint), params, self.sort)


Named = tuple[str, Totals]


def metrics() -> ResponseReturnValue:
    query = bind_page(MetricsQuery)
    window, view = WINDOWS[query.window], query.view("admin.metrics")
    usage = everyone(window)
    of_list = ("ranking", query.sort, window.name)
    place = read_cursor(query.cursor, Place, *of_list)
    rows, following = (
        _found(query, window) if query.search.strip() else _ranked(query, window, place)
    )
    return render_template(
        "admin/metrics.html",
        window=window.name,
        window_urls={name: view.url(window=name) for name in WINDOWS},
        usage=usage,
        traffic=traffic_chart(usage.series),
        latency=latency_chart(usage.series),
        view=view,
        filters={"search": query.search},
        rows=None if rows is None else [_row(name, figures) for name, figures in rows],
        pages=Pages(
            next_url=view.url(cursor=write_cursor(following, *of_list)) if following else None,
            first_url=view.url() if query.cursor else None,
        ),
        total=None,
        csv_url=query.view("admin.metrics_csv").url(),
    )


def metrics_csv() -> ResponseReturnValue:
    """The first two thousand of the ranking, or the tenants that the search finds."""
    query = bind_page(MetricsQuery)
    window = WINDOWS[query.window]
    rows = _found(query, window)[0] if query.search.strip() else _all_ranked(query, window)
    cells = (tuple(_row(name, figures).values()) for name, figures in rows)
    return csv_download(f"metrics-{window.name}.csv", CSV_HEAD, cells)


def _row(user_id: str, figures: Totals) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "requests": figures.requests,
        "errors": figures.errors,
        "rate_limited": figures.rate_limited,
        "input_tokens": figures.input_tokens,
        "output_tokens": figures.output_tokens,
        "p50": figures.latency.p50,
        "p95": figures.latency.p95,
        "p99": figures.latency.p99,
        "first_token_p50": figures.first_token.p50,
    }


def _ranked(
    query: MetricsQuery, window: Window, place: Place | None
) -> tuple[list[Named] | None, Place | None]:
    """A page of the ranking; no rows while it is still being counted."""
    count = _counter(query, window)
    page = figure_cache().get(
        ("ranking", window.name, query.sort, place),
        lambda: count(place, ROWS),
        seconds=RANKING_SECONDS if window.name != "1h" else FRESH_SECONDS,
        patience=RANKING_PATIENCE_SECONDS,
    )
    return (None, None) if page is None else (_named(page), page.following)


def _all_ranked(query: MetricsQuery, window: Window) -> Iterator[Named]:
    count, readable = _counter(query, window), services().user_ids.readable
    found = islice(every_row(lambda place: count(place, MAX_LIMIT)), MAX_DOWNLOADED)
    return ((readable(row.user_id), row.totals) for row in found)


def _counter(query: MetricsQuery, window: Window) -> Callable[[Place | None, int], RankingPage]:
    """The function that counts one page; it runs in any thread."""
    database, clock, sort = services().database, services().clock, query.sort

    def count(after: Place | None, limit: int) -> RankingPage:
        now = clock.now_ms()
        return database.read_long(
            lambda connection: per_tenant(
                connection, window, now, sort=sort, limit=limit, after=after
            )
        )

    return count


def _named(page: RankingPage) -> list[Named]:
    readable = services().user_ids.readable
    return [(readable(row.user_id), row.totals) for row in page.rows]


def _found(query: MetricsQuery, window: Window) -> tuple[list[Named], None]:
    """The first tenants whose id holds what is searched for, by the same order."""
    asked = TenantQuery(filter=TenantFilter(search=query.search.strip()), limit=ROWS)
    page, now = services().directory.page(asked), services().clock.now_ms()
    tenants = {row.number: row for row in (page.exact, *page.rows) if row is not None}

    def read(connection: Connection) -> list[Named]:
        return [
            (row.user_id, totals(connection, number, window, now))
            for number, row in tenants.items()
        ]

    figure = _FIGURES.get(query.sort.removeprefix("-"), _FIGURES["requests"])
    found = services().database.read_long(read)
    found.sort(key=lambda named: figure(named[1]) or -1, reverse=query.sort.startswith("-"))
    return found, None
