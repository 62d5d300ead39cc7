"""The parts of `switchboard check` that look at the limiter's storage, the tools and the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing

from limits.aio.storage import Storage as AsyncStorage
from limits.errors import ConfigurationError as MissingPackage
from limits.storage import Storage, storage_from_string

from webapp.agent import MCPToolkit, Toolkit
from webapp.agent.live_tools import close_all
from webapp.errors import ConfigurationError, SwitchboardError
from webapp.mcp_servers import mcp_toolkits
from webapp.redaction import redacted_url
from webapp.served_agent import openai_model
from webapp.services import build_services
from webapp.settings import LoadedSettings, Settings
from webapp.storage.limits import reason

OPENAI = "https://api.openai.com/v1"
LONGEST_ANSWER_SECONDS = 25.0
LONGEST_LAST_WORDS = 200


def check_limiter(settings: Settings) -> str:
    """Where it counts."""
    shown = redacted_url(settings.rate_limit_storage_url)
    storage = usable_limiter_storage(settings)
    try:
        storage.check()
    except Exception as error:  # noqa: BLE001  # each storage raises its own kinds
        raise SwitchboardError(
            f"The storage in SWITCHBOARD_RATE_LIMIT_STORAGE_URL, {shown}, {reason(error)}; mend"
            " it or correct the address. Until then limits are not kept."
        ) from None
    return f"{settings.rate_limit} in {shown}"


def usable_limiter_storage(settings: Settings) -> Storage | AsyncStorage:
    """The storage; a server need not answer yet, but a file must be one that can be written."""
    storage = _limiter_storage(settings)
    url = settings.rate_limit_storage_url
    try:
        if url.startswith("sqlite:"):
            storage.check()
    except storage.base_exceptions:
        raise ConfigurationError(
            f"SWITCHBOARD_RATE_LIMIT_STORAGE_URL names {url.removeprefix('sqlite:///')}, a file"
            " that cannot be used; is its folder there, may it be written, is it a database?"
        ) from None
    return storage


def _limiter_storage(settings: Settings) -> Storage | AsyncStorage:
    """The storage, which need not answer yet; `ConfigurationError` when it cannot be made."""
    url = settings.rate_limit_storage_url
    try:
        return storage_from_string(url)
    except MissingPackage:
        scheme = url.partition(":")[0]
        package = "valkey" if scheme.startswith("valkey") else "redis"
        raise ConfigurationError(
            f"SWITCHBOARD_RATE_LIMIT_STORAGE_URL begins with {scheme}://, which needs the package"
            f" {package}; install it with: .venv/bin/pip install {package}."
        ) from None
    except Exception:  # noqa: BLE001  # a cluster is asked at once, and each raises its own kinds
        raise ConfigurationError(
            f"The storage in SWITCHBOARD_RATE_LIMIT_STORAGE_URL, {redacted_url(url)}, does not"
            " answer; start it or correct the address."
        ) from None


def check_tools(loaded: LoadedSettings) -> str:
    """Checks that toolkits, guardrails and workflows can be imported, and names them."""
    with closing(build_services(loaded)) as services:
        kits = [kit for kit in services.toolkits if isinstance(kit, Toolkit)]
        names = [f"{kit.name} ({', '.join(tool.name for tool in kit.tools)})" for kit in kits]
        guards = [guardrail.name for guardrail in services.extensions().guardrails]
        flows = list(services.workflows.workflows)
    return (
        f"{', '.join(names) or 'none'}; "
        f"guardrail{'' if len(guards) == 1 else 's'} {', '.join(guards) or 'none'}; "
        f"workflow{'' if len(flows) == 1 else 's'} {', '.join(flows) or 'none'}"
    )


def mcp_checks(loaded: LoadedSettings) -> Iterator[tuple[str, Callable[[], str]]]:
    """For each MCP server its name and what connects to it and names its tools; all of them are
    connected at once."""
    try:
        kits = mcp_toolkits(loaded.values.mcp_servers)
    except SwitchboardError:
        return  # the tools' own line says why
    for kit in kits:
        kit.start()
    try:
        for kit in kits:
            yield kit.name, functools.partial(_check_server, kit)
    finally:
        close_all(kits)


def _check_server(kit: MCPToolkit) -> str:
    standing = kit.wait(LONGEST_ANSWER_SECONDS)
    if standing.state != "connected":
        words = kit.last_words.rpartition("\n")[2][:LONGEST_LAST_WORDS]
        raise SwitchboardError(
            f"it {standing.fault or 'does not answer'}."
            + (f" Its last words: {words}" if words else "")
            + " Turns go on without its tools."
        )
    names = ", ".join(tool.name for tool in standing.tools) or "no tools"
    return " ".join([f"{kit.server.kind}, {names}", *(f"({fault})" for fault in standing.faults)])


def check_model(loaded: LoadedSettings) -> str:
    """Its name and server, and what of a request it refuses: turns then go without that."""
    settings = loaded.values
    name = _name(loaded)
    place = redacted_url(settings.openai_base_url) or OPENAI
    model = None
    try:
        # A check waits for no longer than people do, whatever turns are given.
        patience = min(settings.model_timeout, LONGEST_ANSWER_SECONDS / 2)
        asked = settings.model_copy(update={"model_timeout": patience, "model_max_retries": 0})
        model = openai_model(asked).named(name)
        model.check()
        refused = model.probe(tools=settings.tools != "off")
    except SwitchboardError as error:
        raise SwitchboardError(
            f"{name} at {place}: {error.message}"
            " Check OPENAI_BASE_URL, OPENAI_API_KEY and SWITCHBOARD_MODEL."
        ) from error
    finally:
        if model is not None:
            model.close()
    return ", ".join([f"{name} at {place}", *(f"goes without {part}" for part in refused)])


def _name(loaded: LoadedSettings) -> str:
    """The model in force: the console's choice, where the database can be asked for it."""
    services = build_services(loaded)
    try:
        with services.database.read() as connection:
            return services.configurations.current(connection).model
    except SwitchboardError:
        return loaded.values.model
    finally:
        services.close()
