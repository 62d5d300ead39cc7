"""`switchboard serve`: the production server, which refuses to start on a fault it can see."""

from __future__ import annotations

from collections.abc import Callable

import click

from webapp.access import audit_log
from webapp.cli.check_others import usable_limiter_storage
from webapp.cli.output import examples
from webapp.cli.serving import WORKERS, advise, require_place, run_gunicorn, usable_cores
from webapp.environment import environment
from webapp.errors import ConfigurationError, SwitchboardError
from webapp.services import build_services
from webapp.setting_kinds import secret
from webapp.settings import LoadedSettings, Settings, load_settings, parse_duration
from webapp.storage import Connection, open_database
from webapp.storage.database import SERVER_SCHEMES
from webapp.storage.production import is_production, note_production

MOST_WORKERS = 8  # beyond that they wait for one another's writes


@click.command(
    name="serve", epilog=examples("switchboard serve", "switchboard serve --bind 0.0.0.0:8080")
)
@click.option("--bind", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    help="One for each core, at most 8, unless SWITCHBOARD_WORKERS or this says otherwise.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    help="Turns at once in a worker; 1000 unless SWITCHBOARD_CONCURRENCY says otherwise.",
)
@click.option(
    "--grace",
    metavar="DURATION",
    help="How long a stop waits for turns that run; as long as a turn may take, if not given.",
)
def command(bind: str, workers: int | None, concurrency: int | None, grace: str | None) -> None:
    """The production server: gunicorn with gevent workers."""
    seconds = _seconds(grace)
    workers = _number(workers)
    own = {WORKERS: str(workers)}
    given = {name: text for name, text in environment().items() if name != f"{WORKERS}_FILE"}
    loaded = load_settings({**given, **own})
    faults = [
        *_told(weak_secret(loaded.values)),
        *for_production(loaded.values, workers),
        *_faults_met(loaded),
        *_all_of(lambda: usable_limiter_storage(loaded.values)),
        *_place_faults(bind),
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))
    _note_production(loaded)
    if sentence := counting_alone(loaded.values):
        advise("limits_counted_alone", sentence, json_log=loaded.values.log_format == "json")
    run_gunicorn(
        ["--bind", bind, "--workers", str(workers)],
        own,
        loaded.values,
        ready={"address": bind, "workers": str(workers)},
        ready_text=f"Switchboard listens on {bind}.",
        concurrency=concurrency,
        grace=seconds,
    )


def _number(asked: int | None) -> int:
    """How many workers to start. Nobody who counts limits in memory has asked for several."""
    loaded = load_settings()
    told = loaded.values.workers if asked is None else asked
    if told:
        return told
    untold = asked is None and loaded.source_of("workers") == "default"
    if untold and loaded.values.rate_limit_storage_url.startswith("memory:"):
        return 1
    return usable_cores(MOST_WORKERS)


def _seconds(grace: str | None) -> float | None:
    try:
        return None if grace is None else parse_duration(grace)
    except ValueError as error:
        raise ConfigurationError(f"--grace {error}.") from None


def _place_faults(bind: str) -> list[str]:
    try:
        require_place(bind)
    except ConfigurationError as error:
        return [error.message]
    return []


def weak_secret(settings: Settings) -> str:
    """The fault of the first weak secret that is set; empty when there is none."""
    if settings.secret_key:
        try:
            secret(settings.secret_key)
        except ValueError as error:
            return f"SWITCHBOARD_SECRET_KEY {error}."
    return ""


def _told(sentence: str) -> list[str]:
    return [sentence] if sentence else []


def for_production(settings: Settings, workers: int) -> list[str]:
    """One sentence for each thing that `dev` does without and production must not."""
    faults = []
    if not settings.secret_key:
        faults.append(
            "SWITCHBOARD_SECRET_KEY is not set; make one with:"
            ' python3 -c "import secrets; print(secrets.token_urlsafe(48))".'
        )
    if settings.auth == "open":
        faults.append("SWITCHBOARD_AUTH=open is for `switchboard dev` only; unset it.")
    if workers > 1 and settings.rate_limit_storage_url.startswith("memory:"):
        faults.append(
            "Several workers need limits that they share; set SWITCHBOARD_RATE_LIMIT_STORAGE_URL"
            " to redis://… or sqlite:///…, unset it to count beside the database, or use"
            " --workers 1."
        )
    if not settings.openai_api_key and not settings.openai_base_url:
        faults.append(
            "There is no model; set OPENAI_API_KEY, or OPENAI_BASE_URL for another server."
        )
    return faults


def counting_alone(settings: Settings) -> str:
    """A sentence when several hosts can serve the database, and each would count limits for
    itself; empty when there can be but one, or they count together."""
    url = settings.rate_limit_storage_url
    if not settings.database_url.startswith(SERVER_SCHEMES):
        return ""
    if not url.startswith(("memory:", "sqlite:")):
        return ""
    where = "in memory" if url.startswith("memory:") else f"in {url.removeprefix('sqlite:///')}"
    return (
        f"Limits are counted by this server alone, {where}: with N servers over one PostgreSQL a"
        " user may send N times its limit. For several of them set"
        " SWITCHBOARD_RATE_LIMIT_STORAGE_URL=redis://… on each."
    )


def _faults_met(loaded: LoadedSettings) -> list[str]:
    try:
        services = build_services(loaded)
        try:
            return _all_of(services.extensions, services.require_sound_database)
        finally:
            services.close()
    except SwitchboardError as error:
        return [error.message]


def _note_production(loaded: LoadedSettings) -> None:
    """So that `dev`, which asks nobody for a key, keeps away from what is in it."""
    database = open_database(loaded.values.database_url)

    def work(connection: Connection) -> None:
        audit_log(loaded).begin_production(connection)
        note_production(connection)

    try:
        with database.read() as connection:
            known = is_production(connection)
        if not known:
            database.write(work)
    finally:
        database.close()


def _all_of(*tests: Callable[[], object]) -> list[str]:
    faults = []
    for test in tests:
        try:
            test()
        except SwitchboardError as error:
            faults.append(error.message)
    return faults
