"""The ids of forms that were processed, so that a form that is sent twice acts once.

A mark begins with the moment it was made at, in 13 digits of milliseconds, so that old ones can
be told by their text.
"""

from __future__ import annotations

from webapp.storage import Connection, meta

KEPT_MS = 24 * 3600 * 1000
_PREFIX = "once:"


def outcome(connection: Connection, mark: str) -> str | None:
    """The outcome of the form with this mark; None when it was not acted on."""
    return meta.value(connection, _PREFIX + mark)


def take(connection: Connection, mark: str, said: str, now_ms: int) -> bool:
    """Takes the mark in the transaction of the act; False when another has taken it."""
    meta.drop_between(connection, _PREFIX, f"{_PREFIX}{now_ms - KEPT_MS:013d}")
    return meta.put_first(connection, _PREFIX + mark, said)
