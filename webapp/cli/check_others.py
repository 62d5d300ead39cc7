"""The parts of `switchboard check` that look at the limiter's storage, the tools and the model."""

from __future__ import annotations

from limits.errors import ConfigurationError as MissingPackage
from limits.storage import storage_from_string

import webapp.storage.limits  # noqa: F401 - makes the limits package know sqlite:///
from webapp.errors import ConfigurationError, SwitchboardError
from webapp.redaction import redacted_url
from webapp.services import build_services, openai_model
from webapp.settings import LoadedSettings, Settings

OPENAI = "https://api.openai.com/v1"
LONGEST_ANSWER_SECONDS = 25.0


def check_limiter(settings: Settings) -> str:
    """Where it counts."""
    url = settings.rate_limit_storage_url
    shown = redacted_url(url)
    try:
        up = storage_from_string(url).check()
    except MissingPackage:
        raise ConfigurationError(
            f"SWITCHBOARD_RATE_LIMIT_STORAGE_URL needs a package that is not installed; for"
            f" {shown.partition(':')[0]} install the extra switchboard[redis]."
        ) from None
    except Exception:  # noqa: BLE001  # each storage raises its own kinds
        up = False
    if not up:
        raise SwitchboardError(
            f"The storage in SWITCHBOARD_RATE_LIMIT_STORAGE_URL, {shown}, does not answer; start"
            " it or correct the address. Until then limits are not kept."
        )
    return f"{settings.rate_limit} in {shown}"


def check_tools(loaded: LoadedSettings) -> str:
    """Which tools and guardrails the served agent has."""
    services = build_services(loaded)
    names = [tool.name for kit in services.toolkits for tool in kit.tools]
    guards = [guardrail.name for guardrail in services.extensions().guardrails]
    return (
        f"{', '.join(names) or 'none'}; "
        f"guardrail{'' if len(guards) == 1 else 's'} {', '.join(guards) or 'none'}"
    )


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
