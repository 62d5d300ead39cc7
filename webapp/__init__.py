"""Switchboard: one agent that serves many tenants. `create_app` is where the parts meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from webapp.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask

    from webapp.agent import Guardrail, Model, Toolkit
    from webapp.agent.live_tools import LiveToolkit
    from webapp.clock import Clock
    from webapp.settings import LoadedSettings
    from webapp.tracing import Tracing
    from webapp.workflow import Workflow

__all__ = ["__version__", "create_app"]


def create_app(
    loaded: LoadedSettings | None = None,
    *,
    toolkits: Iterable[Toolkit | LiveToolkit] | None = None,
    guardrails: Iterable[Guardrail] | None = None,
    workflows: Iterable[Workflow] | None = None,
    model: Model | None = None,
    clock: Clock | None = None,
    tracing: Tracing | None = None,
) -> Flask:
    """The application. Settings come from the environment unless they are handed in.

    `toolkits` and `guardrails` are the agent's, in the place of those that SWITCHBOARD_TOOLKITS
    and SWITCHBOARD_GUARDRAILS name; `workflows` are those that are on, in the place of those of
    SWITCHBOARD_WORKFLOWS. `model` and `clock` replace the real ones, for tests. `tracing` follows
    each request. Raises `ConfigurationError`.
    """
    # Imported here, so that `from webapp.agent import Agent` does not bring Flask along.
    from webapp.cli import switchboard
    from webapp.services import build_services
    from webapp.settings import load_settings
    from webapp.this_machine import require_dev_server
    from webapp.web import door, limits, routes, traces
    from webapp.web.api import health
    from webapp.web.application import Application
    from webapp.web.context import EXTENSION
    from webapp.web.door import Doors
    from webapp.web.limits import Limits
    from webapp.web.middleware import MIDDLEWARE

    settings = loaded or load_settings()
    require_dev_server(settings)
    app = Application(
        "switchboard",
        instance_path=str(settings.instance_path.absolute()),
        root_path=str(_root()),
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    services = build_services(
        settings,
        clock=clock,
        model=model,
        toolkits=toolkits,
        guardrails=guardrails,
        workflows=workflows,
    )
    services.extensions()  # what is wrong with them is told now
    services.workflows.require_known()
    app.extensions[EXTENSION] = services
    limiter = Limits(
        default=settings.values.rate_limit,
        storage_url=settings.values.rate_limit_storage_url,
    )
    app.extensions[limits.EXTENSION] = limiter
    app.extensions[health.EXTENSION] = health.readiness_of(services, limiter)
    app.extensions[door.EXTENSION] = Doors(routes.DOORS)
    app.extensions[traces.EXTENSION] = tracing
    for use in MIDDLEWARE:
        use(app)
    routes.register(app)
    # `flask --app webapp …` reaches the commands of `switchboard`, each imported when called.
    app.cli = switchboard
    return app


def _root() -> Path:
    """Where templates and static lie: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    return package if (package / "templates").is_dir() else package.parent
