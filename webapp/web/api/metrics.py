"""Figures of a window of time, for one tenant or for all, as JSON."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from webapp.errors import Forbidden, NotFound
from webapp.storage.narrowing import narrow
from webapp.usage.figures import EVERYONE
from webapp.usage.metrics import metrics_fields
from webapp.usage.summary import summary
from webapp.usage.windows import WINDOWS, window_named
from webapp.web.answers import Figures, answer
from webapp.web.api.tenants import tenant_of_path
from webapp.web.binding import QueryShape, bind_query
from webapp.web.context import caller, services


class MetricsQuery(QueryShape):
    """The query of both; 24 hours unless it says otherwise."""

    window: str = Field("24h", json_schema_extra={"enum": list(WINDOWS)})


def tenant_metrics(user_id: str) -> Response:
    """One tenant's figures."""
    number = services().directory.number(tenant_of_path(user_id))
    if number is None:
        raise NotFound("There is no such tenant.")
    return _metrics(number)


def all_metrics() -> Response:
    """The figures of all tenants together, which a key for some of them must not learn."""
    if not caller().users.is_all:
        raise Forbidden("This credential may not see the figures of all users.")
    return _metrics(EVERYONE)


def _metrics(tenant: int) -> Response:
    window = window_named(bind_query(MetricsQuery).window)
    with services().database.read() as connection:
        if tenant != EVERYONE:
            narrow(connection, tenant)
        figures = summary(connection, tenant, window, services().clock.now_ms())
    return answer(Figures, metrics_fields(figures))
