"""Removes secrets from URLs that are shown on a page, a terminal or in a log."""

from __future__ import annotations

from urllib.parse import urlsplit

HIDDEN = "***"


def redacted_url(url: str) -> str:
    """The URL without its password, and without the values of its query, which may be keys.

    A user's name is hidden as well when no password stands beside it: tokens are written there.
    What cannot be taken apart is not shown at all.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return HIDDEN
    if not parts.netloc:
        # No server is named: a file's path, or a URL that lacks its slashes and may be anything.
        return url if parts.scheme in ("sqlite", "memory", "") and "@" not in url else HIDDEN
    user, at, place = parts.netloc.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        user = f"{name}:{HIDDEN}" if colon and name else HIDDEN
    netloc = f"{user}{at}{place}"
    query = "&".join(_without_value(pair) for pair in parts.query.split("&")) if parts.query else ""
    fragment = HIDDEN if parts.fragment else ""
    return parts._replace(netloc=netloc, query=query, fragment=fragment).geturl()


def _without_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={HIDDEN}" if equals else HIDDEN
