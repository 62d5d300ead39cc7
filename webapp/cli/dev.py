"""`switchboard dev`: everything embedded, for this machine alone."""

from __future__ import annotations

import os
from contextlib import closing

import click

from webapp.accounts.audit import Actor
from webapp.cli.output import examples
from webapp.cli.serving import WORKERS, require_free_port, run_gunicorn
from webapp.environment import DEV_SERVER, EMBEDDED_MODEL
from webapp.errors import ConfigurationError
from webapp.instance_secret import instance_secret_file
from webapp.redaction import redacted_url
from webapp.services import build_services
from webapp.settings import LoadedSettings, load_settings
from webapp.storage.production import is_production
from webapp.this_machine import is_loopback, require_closed_to_others

PRODUCTION = (
    "{place} has served real users, and `switchboard dev` lets everybody at this machine read and"
    " change everything in it; name another one, such as"
    " SWITCHBOARD_DATABASE_URL=sqlite:///instance/dev.db, or go on with --production-data."
)


@click.command(name="dev", epilog=examples("switchboard dev", "switchboard dev --port 9000"))
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--production-data",
    "on_production",
    is_flag=True,
    help="Go on with a database that `switchboard serve` has used.",
)
def command(host: str, port: int, on_production: bool) -> None:
    """Everything embedded: SQLite in instance/, limits in memory, a small model when no other is
    set. The REST API answers this machine without a key."""
    _require_loopback(host)
    loaded = load_settings()
    if loaded.source_of("auth") == "default" or loaded.values.auth == "open":
        require_closed_to_others(loaded.values)
    services = build_services(loaded)
    services.extensions()  # nothing is started for what cannot be imported
    services.workflows.require_known()
    require_free_port(host, port)
    # A setting that asks for credentials holds here as well, so that they can be tried.
    environment = {} if loaded.source_of("auth") != "default" else {"SWITCHBOARD_AUTH": "open"}
    environment[WORKERS] = "1"
    environment[DEV_SERVER] = str(os.getpid())  # which stays, as gunicorn takes our place
    if not loaded.values.secret_key:
        environment["SWITCHBOARD_SECRET_KEY_FILE"] = str(instance_secret_file(loaded.instance_path))
    token = _prepare_database(loaded, on_production=on_production)
    json_log = loaded.values.log_format == "json"
    embedded = not (loaded.values.openai_api_key or loaded.values.openai_base_url)
    model_environment = _start_embedded_model(quiet=json_log) if embedded else {}
    environment |= model_environment
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    address = f"http://{place}"
    model = model_environment.get("SWITCHBOARD_MODEL", loaded.values.model)
    link = f"{address}/admin/login/link?token={token}"
    run_gunicorn(
        ["--bind", place],
        environment,
        loaded.values,
        ready={"address": address, "model": model, "console": link},
        ready_text=_welcome(address, model, link, embedded=embedded),
    )


def _require_loopback(host: str) -> None:
    if not is_loopback(host):
        raise ConfigurationError(
            f"`switchboard dev` answers without a key, so it listens on a loopback address only, "
            f"not on {host}; use `switchboard serve` for others."
        )


def _prepare_database(loaded: LoadedSettings, *, on_production: bool) -> str:
    """The schema, the owner's account, and a sign-in link's token for it."""
    with closing(build_services(loaded)) as services:
        services.upgrade_database()
        services.require_sound_database()
        with services.database.read() as connection:
            if is_production(connection) and not on_production:
                place = redacted_url(services.database.url)
                raise ConfigurationError(PRODUCTION.format(place=place))
        actor = Actor.command_line()
        return services.sign_in.make_link(services.admins.of_dev(by=actor).name, by=actor)


def _start_embedded_model(*, quiet: bool) -> dict[str, str]:
    from webapp.local_model import EmbeddedModel

    if not quiet:
        click.echo("Starting the embedded model …")
    model = EmbeddedModel().start()
    return {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": model.key,
        "SWITCHBOARD_MODEL": model.model_name,
        EMBEDDED_MODEL: f"{model.pid} {model.hand_over()}",
    }


def _welcome(address: str, model: str, link: str, *, embedded: bool) -> str:
    answers = (
        f"{model}, embedded: a real model, but a very small one;"
        " set OPENAI_API_KEY or OPENAI_BASE_URL for another"
        if embedded
        else model
    )
    return (
        f"\nSwitchboard is ready at {address}\n\n"
        f"  Model    {answers}\n"
        f"  Console  {link}\n           (signs you in once, within the next minutes)\n"
        f"  Try it   curl -X POST {address}/chat -H 'Content-Type: application/json'"
        """ -d '{"user_id": "user-a", "message": "My name is Alice"}'\n"""
        "\nStop it with Ctrl-C.\n"
    )
