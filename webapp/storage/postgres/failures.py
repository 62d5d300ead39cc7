"""What PostgreSQL's errors mean, as the errors that the rest of the house knows.

The server's own words may hold a row's values, so they are in the cause alone.
"""

from __future__ import annotations

import psycopg

from webapp.errors import SchemaOutOfDate, StorageUnavailable

MOST_TRIES = 4
_AWAY = ("unavailable", "The database server cannot be reached; nothing was stored.")
_OTHER = ("unavailable", "The database could not do this.")
_LOCKED = ("locked", "Another act holds the same rows; nothing was stored, so try again.")
_FULL = ("full", "The disk of the database is full; nothing was stored.")
_DAMAGED = ("damaged", "The database is damaged; nothing was stored.")
_REFUSED = ("unavailable", "The database refuses the user or the password that were given.")
_BUSY = ("unavailable", "The database server takes no more connections.")
_STOPPING = ("unavailable", "The database server is stopping or starting; nothing was stored.")
_STALLED = ("stalled", "The database did not answer in time; nothing was stored.")
_MEANINGS = {
    "25006": ("read_only", "The database takes no writes; nothing was stored."),
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "3D000": ("unavailable", "There is no database of this name on the server."),
    "3F000": ("unavailable", "The role has no schema to make tables in."),
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "42501": ("unavailable", "The role may not do this in the database."),
    "53100": _FULL,
    "53300": _BUSY,
    "55P03": _LOCKED,
    "57014": _STALLED,
    "57P01": _STOPPING,
    "57P02": _STOPPING,
    "57P03": _STOPPING,
    "58030": ("unavailable", "The disk of the database failed."),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_NO_TABLE = ("42P01", "42703")
# The transaction was taken back whole, and the same may well succeed: two that waited for each
# other, a row that another deleted, a plan or a prepared statement that is no longer there.
_AGAIN = frozenset({"40001", "40P01", "23503", "26000", "42P05", "0A000"})


def failure(error: psycopg.Error) -> StorageUnavailable:
    """A fresh error for each who gets it raised: a traceback belongs to one thread."""
    code = error.sqlstate or ""
    if code in _NO_TABLE:
        found: StorageUnavailable = SchemaOutOfDate(
            "The database's schema is missing or old; run: switchboard db upgrade."
        )
    else:
        part, sentence = _meaning(error, code)
        found = StorageUnavailable(sentence, part=part)
    found.__cause__ = error
    return found


def stalled() -> StorageUnavailable:
    """The server, or the way to it, has not answered in time."""
    return StorageUnavailable(_STALLED[1], part=_STALLED[0])


def is_fault(error: psycopg.Error) -> bool:
    """Whether the database itself is at fault, and not the statement that it was given."""
    code = error.sqlstate or ""
    return not code or code in _MEANINGS or code[:2] in ("08", "53", "57", "58", "XX")


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, and those made beside it probably as well."""
    code = error.sqlstate
    if code:
        return code[:2] == "08" or code[:4] == "57P0"
    return isinstance(error, psycopg.OperationalError)


def is_read_only(error: psycopg.Error) -> bool:
    """Whether the server is one that is not written now; another may be."""
    return error.sqlstate == "25006"


def may_succeed_again(error: psycopg.Error) -> bool:
    """Whether the transaction is to be run once more."""
    return error.sqlstate in _AGAIN


def _meaning(error: psycopg.Error, code: str) -> tuple[str, str]:
    found = _MEANINGS.get(code)
    if found is not None:
        return found
    if code[:2] == "08" or (not code and isinstance(error, psycopg.OperationalError)):
        return _from_words(str(error))
    return _OTHER


def _from_words(words: str) -> tuple[str, str]:
    """A connection that was not made has no code; the server's own reason is in its words."""
    for part, meaning in _WORDS:
        if part in words:
            return meaning
    return _AWAY


_WORDS = (
    ("password authentication failed", _REFUSED),
    ("no password supplied", _REFUSED),
    ("no pg_hba.conf entry", _REFUSED),
    ("does not exist", ("unavailable", "The database or the role is not there on the server.")),
    ("too many", _BUSY),
    ("remaining connection slots", _BUSY),
    ("is starting up", _STOPPING),
    ("is shutting down", _STOPPING),
    ("session is read-only", ("read_only", "No server of the database takes writes now.")),
)
