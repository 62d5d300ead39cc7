"""GET /healthz: whether the process answers. GET /readyz: whether it can run turns, or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, current_app

from webapp.errors import SwitchboardError
from webapp.readiness import Finding, Findings, Probe, Readiness
from webapp.web import answers, mcp_state
from webapp.web.answers import Alive, answer
from webapp.web.context import services
from webapp.web.limits import Limits, limits
from webapp.web.worker_state import breaker_now
from webapp.worker_figures import WorkerFigures, own_figures

if TYPE_CHECKING:
    from webapp.services import Services

EXTENSION = "switchboard-readiness"
# Anybody may ask as often as he likes. The database keeps a proof of its own.
KEPT_SECONDS = 0.2

_SCHEMA = {"schema_out_of_date": "out_of_date", "schema_too_new": "too_new"}
_AWAY = "storage_unavailable"


def healthz() -> Response:
    """200 as long as the process can answer at all."""
    return answer(Alive, {"status": "ok"})


def readyz() -> Response:
    """200 when turns can run, 503 when not; it says of each part how it is.

    The limiter being down does not stop turns. A breaker that is open does, and yet a server is
    ready: what it kept, reads and the console are there, and nobody else would do better.
    """
    readiness: Readiness = current_app.extensions[EXTENSION]
    report = readiness.report(beside={**_breaker(), **mcp_state.finding()})
    body: dict[str, object] = {
        "status": "ready" if report.ready else "not_ready",
        "checks": {name: found.state for name, found in report.findings.items()},
        "reasons": report.reasons,
        "limiter_failures": limits().storage_failures,
    }
    if not report.ready:
        body["reason"] = next(iter(report.reasons.values()))
    return answer(answers.Readiness, body, status=200 if report.ready else 503)


def readiness_of(services: Services, limiter: Limits) -> Readiness:
    """The parts that are asked, each by what it is needed for: a write, a ticket, a count."""
    away = Finding(_AWAY, "The database does not answer.")
    probes = [
        Probe(
            lambda: _database(services),
            silent={"database": away, "schema": away},
            needed=True,
        ),
        Probe(
            lambda: {"turn_lines": _turn_lines(services)},
            silent={"turn_lines": Finding("down", "The lines of the turns do not answer.")},
            needed=True,
            kept=KEPT_SECONDS,
        ),
        Probe(
            lambda: {"limiter": _limiter(limiter)},
            silent={"limiter": _limiter_down("does not answer")},
            needed=False,
            kept=KEPT_SECONDS,
        ),
    ]
    if services.has_embedded_model:
        probes.append(
            Probe(
                lambda: {"model": Finding() if services.embedded_model_answers() else _MODEL_AWAY},
                silent={"model": _MODEL_AWAY},
                needed=True,
            )
        )
    figures = own_figures().all
    if figures.wanted:
        probes.append(Probe(lambda: {"workers": _workers(figures)}, silent={}, needed=False))
    return Readiness(probes)


_MODEL_AWAY = Finding("away", "The embedded model is away; it is being started again.")


def _database(services: Services) -> Findings:
    """Whether it can be read and written."""
    try:
        services.database.require_ready()
    except SwitchboardError as error:
        schema = _SCHEMA.get(error.code, error.code)
        return {
            "database": Finding(error.code, error.message),
            "schema": Finding(schema, error.message),
        }
    return {"database": Finding(), "schema": Finding()}


def _limiter(limiter: Limits) -> Finding:
    return Finding() if limiter.storage_is_up() else _limiter_down(limiter.storage_fault())


def _limiter_down(fault: str) -> Finding:
    return Finding("down", f"The storage of the limits {fault}; requests go through uncounted.")


def _breaker() -> Findings:
    """Of all workers; nothing where it is switched off."""
    if not services().settings.model_breaker_failures:
        return {}
    state = breaker_now()
    return {"model_breaker": Finding() if state.is_closed else Finding(state.name, state.sentence)}


def _turn_lines(services: Services) -> Finding:
    try:
        services.turns.require_usable()
    except SwitchboardError as error:
        return Finding("down", error.message)
    return Finding()


def _workers(figures: WorkerFigures) -> Finding:
    """Those of this server; one that is away or stands still stops no turn of the others."""
    wanted = figures.wanted
    well = sum(not worker.still for worker in figures.living())
    if well >= wanted:
        return Finding()
    return Finding("fewer", f"{well} of {wanted} workers are at work; the others are awaited.")
