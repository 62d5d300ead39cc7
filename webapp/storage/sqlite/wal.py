"""SQLite's write-ahead log: whether the one beside a file is that file's own. No units of work.

A log that was left behind fits only the very file that it was written over. SQLite does not
notice when a backup was copied in that file's place: it plays the log into it and both are lost.
So the database knows its log: the row `wal_link` of `meta` is written anew when a log begins and
before each time that it is emptied into the file.

`token` is the log's salt (which SQLite changes with each log) and how often it was emptied;
`base` is the token that the file had when this log began; `cookies` are the schema versions that it
had then and since: every kind of backup changes that number.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from webapp.errors import StorageUnavailable
from webapp.storage.sqlite.examination import quick_check
from webapp.storage.sqlite.file import require_not_emptied

HEADER_BYTES = 32
EXAMINE_SECONDS = 5.0
_NAME = "wal_link"
UNLINKED = "-"
_TRIES = 3


def wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def wal_bytes(path: Path) -> int:
    """The size of the log beside the file; 0 when there is none."""
    try:
        return wal_path(path).stat().st_size
    except OSError:
        return 0


def salt(path: Path) -> str | None:
    """The random salt of the log beside the file; None when the log is empty.

    Reading the log is safe. The database file itself must never be opened past SQLite: closing it
    again would let go of every lock that this process has on it.
    """
    try:
        with wal_path(path).open("rb") as file:
            header = file.read(HEADER_BYTES + 1)
    except OSError:
        return None
    return header[16:24].hex() if len(header) > HEADER_BYTES else None


@dataclass(frozen=True, slots=True)
class Link:
    """The row `wal_link`."""

    token: str
    base: str
    cookies: tuple[int, ...]

    @property
    def salt(self) -> str:
        return self.token.partition(":")[0]

    def emptied_again(self) -> Link:
        salt, _, count = self.token.partition(":")
        return replace(self, token=f"{salt}:{int(count) + 1}")


def read_link(connection: sqlite3.Connection) -> Link | None:
    """None for a database that has none yet, or no such table."""
    if not _has_meta(connection):
        return None
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (_NAME,)).fetchone()
    try:
        token, base, cookies = row[0].split(" ")
        return Link(token, base, tuple(map(int, cookies.split(","))))
    except (TypeError, ValueError, AttributeError):
        return None


def _has_meta(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
    return found is not None


def write_link(connection: sqlite3.Connection, link: Link) -> None:
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_NAME, f"{link.token} {link.base} {','.join(map(str, link.cookies))}"),
    )


def link_to(path: Path, connection: sqlite3.Connection, log: str) -> Link | None:
    """The link for the log with this salt, when the database is not linked to it yet."""
    if not _has_meta(connection):
        return None
    known = read_link(connection)
    if known is not None and known.salt == log:
        return None
    try:
        _, cookie = _seen(path, "immutable=1")
    except sqlite3.Error:
        return None  # just being written by another process; the next batch asks again
    return Link(f"{log}:0", UNLINKED if known is None else known.token, (cookie,))


def note_schema_change(connection: sqlite3.Connection) -> None:
    """To be called in the transaction that changes the schema, or right behind it."""
    link = read_link(connection)
    if link is not None:
        cookie = connection.execute("PRAGMA schema_version").fetchone()[0]
        write_link(connection, replace(link, cookies=(*link.cookies, cookie)))


def forget_link(connection: sqlite3.Connection) -> None:
    """For a copy, which has no log and must not be taken for the file that has one."""
    connection.execute("DELETE FROM meta WHERE name = ?", (_NAME,))


def cut_off(connection: sqlite3.Connection) -> bool:
    """Empties the log into the file; False when somebody was in the way."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def require_own(path: Path) -> None:
    """Raises `StorageUnavailable` when the log beside the file is not that file's own.

    Changes neither: the file is read without its log and, in a connection that cannot write,
    with it. To be asked before the first connection that could empty the log into the file.
    """
    for _ in range(_TRIES):
        log = salt(path)
        if log is None or not path.exists():
            return
        own = _is_own(path, log)
        if own or salt(path) == log:
            break
        time.sleep(0.05)  # another process emptied the log in between: what was read is mixed
    if not own:
        name = path.name
        if _is_unreadable(path):
            raise StorageUnavailable(
                f"The database file is damaged, or the log {name}-wal is not its own; stop"
                " every server of it and restore a backup.",
                part="damaged",
            )
        raise StorageUnavailable(
            f"The log {name}-wal does not belong to {name}: a copy was probably put in the place"
            f" of the database. Stop every server of it; to keep the file as it is, move"
            f" {name}-wal and {name}-shm away, and start again.",
            part="foreign",
        )


def require_whole_file(path: Path) -> None:
    """Raises SQLite's error when the file itself was cut short or overwritten at its beginning.

    The connections that are kept go on with what they remember of it, so a new one looks, and at
    the file alone. While its log is not empty a file need not make sense alone: what SQLite moves
    into it at a time leaves out each page that was written again since, and the first page may tell
    of one of those. Then both together are looked at.
    """
    require_not_emptied(path)
    try:
        _seen(path, "immutable=1")
    except sqlite3.DatabaseError as error:
        corrupt = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT
        if not corrupt or wal_bytes(path) == 0 or not _sound(path):
            raise


def is_readable(path: Path) -> bool:
    """Whether file and log together begin as a database; changes neither."""
    try:
        _seen(path, "mode=ro")
    except sqlite3.Error:
        return False
    return True


def _is_own(path: Path, log: str) -> bool:
    try:
        alone, alone_cookie = _seen(path, "immutable=1")
    except sqlite3.Error:
        # A file that was left while its log was being emptied need not make sense without it.
        return _sound(path)
    try:
        both, _ = _seen(path, "mode=ro")
    except sqlite3.Error:
        return False
    if both is None or both.salt != log:
        return _sound(path)
    if alone is None:
        alone = Link(UNLINKED, UNLINKED, ())
    if alone.salt != log and alone.token != both.base:
        return False
    return alone_cookie in both.cookies


def _is_unreadable(path: Path) -> bool:
    try:
        _seen(path, "immutable=1")
    except sqlite3.Error:
        return True
    return False


def _seen(path: Path, how: str) -> tuple[Link | None, int]:
    with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=1)) as connection:
        cookie = connection.execute("PRAGMA schema_version").fetchone()[0]
        return read_link(connection), cookie


def _sound(path: Path) -> bool:
    """Whether file and log make a whole database; what a few seconds do not find is let pass."""
    uri = f"{path.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
            return quick_check(connection, EXAMINE_SECONDS)
    except sqlite3.DatabaseError as error:
        # A file that is no database at all is told of elsewhere, in other words.
        return getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_CORRUPT
