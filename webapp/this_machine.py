"""`AUTH=open`: the conditions for answering this machine without a key; no request is here."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from webapp.errors import ConfigurationError
from webapp.settings import LoadedSettings, Settings

ONLY_DEV = (
    "SWITCHBOARD_AUTH=open works in `switchboard dev` only, which listens to this machine alone;"
    " unset it and make a key with: switchboard keys create."
)


def require_dev_server(loaded: LoadedSettings) -> None:
    """`ConfigurationError` when the API would be open to more than this machine."""
    if loaded.values.auth != "open":
        return
    if not loaded.for_this_machine:
        raise ConfigurationError(ONLY_DEV)
    require_closed_to_others(loaded.values)


def require_closed_to_others(settings: Settings) -> None:
    """`ConfigurationError` for settings that would let others in who have no key either."""
    faults = list(_faults(settings))
    if faults:
        raise ConfigurationError("\n".join(faults))


def _faults(settings: Settings) -> Iterable[str]:
    end = "; set SWITCHBOARD_AUTH=required to try it with keys, or use `switchboard serve`."
    if settings.trusted_proxies:
        yield (
            "SWITCHBOARD_TRUSTED_PROXIES does not go with `switchboard dev`, which answers this"
            f" machine without a key and could not tell who is behind a proxy{end}"
        )
    if not all(is_loopback(urlsplit(origin).hostname or "") for origin in settings.cors_origins):
        yield (
            "SWITCHBOARD_CORS_ORIGINS may only name origins of this machine in `switchboard dev`,"
            " such as http://localhost:3000: any page of another could do everything without a"
            f" key{end}"
        )
    if not all(map(is_loopback, settings.allowed_hosts)):
        yield (
            "SWITCHBOARD_ALLOWED_HOSTS may only name this machine in `switchboard dev`, such as"
            " localhost: under another name any web page could do everything without a key, by"
            f" DNS rebinding{end}"
        )


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether the name or address, without a port, is this machine's own."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
