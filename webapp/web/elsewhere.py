"""Whether another site's page made a request, or a proxy passed it on."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Request

from webapp.this_machine import is_loopback

# Proxies add at least one of these, or one of the many that begin with X-Forwarded-.
FORWARDING_HEADERS = (
    *("Forwarded", "Via", "X-Real-IP", "X-Client-IP", "X-Original-Host", "CF-Ray"),
    *("True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP", "X-Envoy-External-Address"),
    *("X-Envoy-Original-Path", "X-Original-URL", "X-Rewrite-URL", "X-Amzn-Trace-Id"),
)
# What names a person says nothing of the way: programs that imitate such a proxy set it alone.
PERSON_HEADERS = (
    *("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"),
    *("X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token"),
)


def _variable(header: str) -> str:
    """The name of a header field in WSGI's environment, where looking for one is cheapest."""
    return "HTTP_" + header.upper().replace("-", "_")


_FORWARDING = frozenset(map(_variable, FORWARDING_HEADERS))
_PERSONS = frozenset(map(_variable, PERSON_HEADERS))
_FORWARDED = _variable("X-Forwarded-")


def is_of_another_page(request: Request, allowed: Collection[str] = ()) -> bool:
    """Whether a browser says that a page made the request which is neither ours nor of an
    `allowed` origin.

    Browsers send `Sec-Fetch-Site` (Fetch Metadata) with everything, `Origin` with what changes
    something or reads across origins, and old ones at least `Referer`; what is no browser sends
    none of them.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin in allowed:
        return False
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    source = origin if origin is not None else request.headers.get("Referer")
    return source is not None and not _is_own(source, request.host)


def came_through_a_proxy(request: Request) -> bool:
    """Whether a proxy passed it on or it came over the network: then anybody may have sent it."""
    for name in request.environ:
        if name in _FORWARDING or (name.startswith(_FORWARDED) and name not in _PERSONS):
            return True
    return not is_loopback(request.remote_addr or "")


def _is_own(source: str, host: str) -> bool:
    try:
        netloc = urlsplit(source).netloc
    except ValueError:
        return False
    return bool(netloc) and netloc.lower() == host.lower()
