"""The secret of an instance for which nobody has set one: made once, kept in its own file.

`dev` runs on it, and the commands that work on the same instance must have the same: the audit log
is sealed with it. `serve` wants SECRET_KEY to be set.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from webapp.errors import ConfigurationError

SECRET_FILE = "secret_key"  # nosec B105  # the name of a file


def instance_secret_file(folder: Path) -> Path:
    """The file, which is there and holds a secret from now on."""
    path = folder / SECRET_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(_new(path), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
    except FileExistsError:
        return path
    except OSError as error:
        raise ConfigurationError(
            f"SWITCHBOARD_SECRET_KEY is not set, and {path} cannot be written ({error.strerror})."
        ) from error
    return path


def instance_secret(folder: Path) -> str:
    """The instance's secret."""
    path = instance_secret_file(folder)
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read; set SWITCHBOARD_SECRET_KEY.") from error
    if not found:
        raise ConfigurationError(f"{path} is empty; delete it, and it is made anew.")
    return found


def instance_secret_if_any(folder: Path) -> str | None:
    """The instance's secret, where `dev` has made one; None when none can be read."""
    try:
        return (folder / SECRET_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _new(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
