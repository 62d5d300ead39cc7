"""`switchboard check`: tests the settings and all they point at; says what to do about a fault."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
from limits.storage import storage_from_string

import webapp.storage.limits  # noqa: F401 - makes the limits package know sqlite:///
from webapp.accounts import audit
from webapp.cli.check_database import check_database
from webapp.cli.output import examples
from webapp.errors import ConfigurationError, SwitchboardError
from webapp.services import build_services, openai_model
from webapp.settings import LoadedSettings, Settings, load_settings
from webapp.storage import open_database


@click.command(name="check", epilog=examples("switchboard check", "switchboard check --data"))
@click.option("--data", is_flag=True, help="Examine all data, however long it takes.")
def command(data: bool) -> None:
    """Tests the settings, the database, the audit log, the limiter's storage and the model."""
    loaded = load_settings()
    settings = loaded.values
    click.echo("ok     settings")
    results = [
        _run("database", lambda: check_database(settings.database_url, thorough=data)),
        _run("audit log", lambda: _audit_log(settings)),
        _run("limiter", lambda: _limiter(settings)),
        _run("tools", lambda: _tools(loaded)),
        _run("model", lambda: _model(settings)),
    ]
    if not all(results):
        sys.exit(1)


def _run(name: str, test: Callable[[], str | None]) -> bool:
    try:
        detail = test()
    except SwitchboardError as error:
        click.echo(f"fault  {name}: {error.message}")
        return False
    click.echo(f"ok     {name}{f': {detail}' if detail else ''}")
    return True


def _audit_log(settings: Settings) -> str:
    """Its length and head, to be kept elsewhere: whoever can write the file can make it anew."""
    database = open_database(settings.database_url)
    try:
        database.check()
        state = database.read_long(audit.verify)
    finally:
        database.close()
    if isinstance(state, audit.BrokenAt):
        raise SwitchboardError(
            f"The audit log was changed at entry {state.id}; compare it with a backup."
        )
    return f"{state.count} entries, head {state.head[:16]}"


def _limiter(settings: Settings) -> None:
    try:
        up = storage_from_string(settings.rate_limit_storage_url).check()
    except Exception:  # noqa: BLE001  # each storage raises its own kinds
        up = False
    if not up:
        raise SwitchboardError(
            "The storage in SWITCHBOARD_RATE_LIMIT_STORAGE_URL does not answer; start it or"
            " correct the address. Until then limits are not kept."
        )


def _tools(loaded: LoadedSettings) -> str:
    services = build_services(loaded)
    names = [tool.name for kit in services.toolkits for tool in kit.tools]
    guards = [guardrail.name for guardrail in services.extensions().guardrails]
    return (
        f"{', '.join(names) or 'none'}; "
        f"guardrail{'' if len(guards) == 1 else 's'} {', '.join(guards) or 'none'}"
    )


def _model(settings: Settings) -> str:
    """Its name, and what of a request it refuses: turns then go without that."""
    model = None
    try:
        model = openai_model(settings)
        model.check()
        refused = model.probe(tools=settings.tools != "off")
    except ConfigurationError:
        raise
    except SwitchboardError as error:
        raise SwitchboardError(
            f"{error.message} Check OPENAI_BASE_URL, OPENAI_API_KEY and SWITCHBOARD_MODEL."
        ) from error
    finally:
        if model is not None:
            model.close()
    return ", ".join([settings.model, *(f"goes without {part}" for part in refused)])
