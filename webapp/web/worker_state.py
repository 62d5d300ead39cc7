"""Notes how this worker is, so that whichever worker is asked can tell it: several times a second
by the server, and before each scrape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import current_app

from webapp.web import context, limits, mcp_state, model_breaker, request_counts
from webapp.web.model_breaker import BreakerFigures

if TYPE_CHECKING:
    from webapp.services import Services
    from webapp.web.limits import Limits
    from webapp.worker_figures import OwnFigures

RUNNING, WAITING = ("turns_running",), ("turns_waiting",)
UNCOUNTED = ("limiter_storage_failures",)
DROPPED = ("sessions_dropped",)


def note_state(extensions: Mapping[str, Any]) -> None:
    """`extensions` are those of the application."""
    services: Services = extensions[context.EXTENSION]
    limiter: Limits = extensions[limits.EXTENSION]
    figures: OwnFigures = extensions[request_counts.EXTENSION]
    load = services.chat.load
    figures.seen()
    figures.gauge(RUNNING, load.running)
    figures.gauge(WAITING, load.waiting)
    figures.count_up_to(UNCOUNTED, limiter.storage_failures)
    figures.count_up_to(DROPPED, services.dropped.sessions)
    model_breaker.note(figures, services.served_agent.breaker.state)
    mcp_state.note(figures, services.mcp_toolkits)


def breaker_now() -> BreakerFigures:
    """How the breaker round the model is, in this worker at this moment and in the others."""
    note_state(current_app.extensions)
    return model_breaker.of_all_workers(request_counts.worker_figures().all)
