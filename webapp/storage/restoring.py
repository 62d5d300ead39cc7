"""Puts a backup in the place of a database that nobody uses; how is the engine's own matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from webapp.errors import ConfigurationError

ITS_OWN_PROGRAMS = (
    "A PostgreSQL database is backed up and restored by PostgreSQL's own programs. While it is in"
    ' use, `pg_dump --format=custom --file=FILE "$SWITCHBOARD_DATABASE_URL"` makes a copy of one'
    " moment; with every server stopped, `pg_restore --clean --if-exists --single-transaction"
    ' --dbname="$SWITCHBOARD_DATABASE_URL" FILE` puts it back.'
)


@dataclass(frozen=True, slots=True)
class Restored:
    """The bytes of the database now, and where the one before it lies; None when there was none."""

    size: int
    kept: Path | None


def require_file(url: str) -> Path:
    """The file of the database behind `url`; `ConfigurationError` when it is not in one."""
    path = url.removeprefix("sqlite:///")
    if path == url:
        raise ConfigurationError(ITS_OWN_PROGRAMS)
    return Path(path).absolute()


def require_restorable(url: str, file: Path) -> bool:
    """Raises when the file is plainly no backup, or somebody uses the database behind `url`; gives
    whether there is a database to be replaced."""
    from webapp.storage.sqlite.restoring import require_backup, require_unused

    target = require_file(url)
    require_backup(file, target)
    require_unused(target)
    return target.exists()


def restore_database(
    url: str, file: Path, progress: Callable[[int, int], None] | None = None
) -> Restored:
    """Replaces the database; `StorageUnavailable`, and nothing changed, when that cannot be."""
    from webapp.storage.sqlite.restoring import restore

    return Restored(*restore(require_file(url), file, progress))
