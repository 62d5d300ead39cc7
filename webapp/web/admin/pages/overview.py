"""The overview: the figures of everyone, who asks and fails most, and the state of the parts."""

from __future__ import annotations

from collections.abc import Mapping

from flask import render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.errors import SwitchboardError
from webapp.periods import DAY_MS
from webapp.tenants.directory import Census
from webapp.usage.ranking.store import RankedTenant, top_tenants
from webapp.usage.windows import WINDOWS, Window
from webapp.web.admin.display.charts import latency_chart, traffic_chart
from webapp.web.admin.figures.cache import figure_cache
from webapp.web.admin.figures.windows import FRESH_SECONDS, WindowName, everyone
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.context import services
from webapp.web.limits import limits
from webapp.web.worker_state import breaker_now

RANKING_SECONDS = 30.0
RANKING_PATIENCE_SECONDS = 0.25
MODEL_CODES = ("model_error", "model_timeout", "model_unavailable")


class OverviewQuery(FormShape):
    window: WindowName = "24h"


def overview() -> ResponseReturnValue:
    window = WINDOWS[bind_page(OverviewQuery).window]
    # Both countings start before the page waits for one.
    _top(window, "errors", patience=0)
    most_active, most_failing = _top(window, "requests"), _top(window, "errors")
    usage, census = everyone(window), _census()
    return render_template(
        "admin/overview.html",
        window=window.name,
        window_urls={name: url_for("admin.overview", window=name) for name in WINDOWS},
        usage=usage,
        tenants={"total": census.tenants, "active_24h": census.active},
        traffic=traffic_chart(usage.series),
        latency=latency_chart(usage.series),
        most_active=most_active,
        most_failing=most_failing,
        health=_health(),
        refreshed_at=services().clock.now_ms(),
    )


def _census() -> Census:
    directory = services().directory
    found = figure_cache().get("census", lambda: directory.census(DAY_MS), seconds=FRESH_SECONDS)
    return found if found is not None else directory.census(DAY_MS)


def _top(
    window: Window, by: str, patience: float = RANKING_PATIENCE_SECONDS
) -> list[Mapping[str, object]] | None:
    """The first tenants of a ranking; None while it is being counted, which can take long."""
    database, clock, readable = services().database, services().clock, services().user_ids.readable

    def count() -> tuple[RankedTenant, ...]:
        now = clock.now_ms()
        return database.read_long(lambda connection: top_tenants(connection, window, now, by))

    found = figure_cache().get(
        ("top", by, window.name),
        count,
        seconds=RANKING_SECONDS if window.name != "1h" else FRESH_SECONDS,
        patience=patience,
    )
    if found is None:
        return None
    return [
        {
            "user_id": readable(row.user_id),
            "requests": row.totals.requests,
            "errors": row.totals.errors,
        }
        for row in found
    ]


def _health() -> list[Mapping[str, object]]:
    database, limiter = services().database, limits()

    def look() -> list[Mapping[str, object]]:
        try:
            database.check()
            fault = ""
        except SwitchboardError as error:
            fault = error.message
        up = limiter.storage_is_up()
        return [
            {"name": "Database", "ok": not fault, "detail": fault or "answers"},
            {
                "name": "Limiter",
                "ok": up,
                "detail": "counts" if up else "is down: every request is let through",
            },
        ]

    parts = figure_cache().get("health", look, seconds=FRESH_SECONDS) or look()
    return [*parts, _model()]


def _model() -> Mapping[str, object]:
    """The model's state by its breaker and the last hour's turns: asking it would cost tokens."""
    ill = breaker_now()
    if not ill.is_closed:
        since = services().clock.now_ms() - round(ill.seconds * 1000)
        return {"name": "Model", "ok": False, "detail": ill.sentence, "since": since}
    hour = everyone(WINDOWS["1h"])
    failed = sum(hour.errors_by_code.get(code, 0) for code in MODEL_CODES)
    answered = hour.totals.requests - hour.totals.errors - hour.totals.rate_limited
    ok = not failed or answered > failed * 19
    if failed:
        share = f"{failed:,} of {answered + failed:,} turns failed in the last hour"
        detail = f"answers; {share}" if ok else share
    else:
        detail = "answers" if answered else "was not asked in the last hour"
    return {"name": "Model", "ok": ok, "detail": detail}
