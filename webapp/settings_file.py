"""Reads the file of settings, and files that hold one secret; what the names mean is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from webapp.errors import ConfigurationError

MAX_BYTES = 1024 * 1024
_QUOTES = ("'", '"')


@dataclass(slots=True)
class SettingsFile:
    """The values by name, and a sentence for each line that cannot be used."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_settings_file(path: Path, is_known: Callable[[str], bool]) -> SettingsFile:
    """`NAME=value` lines; `#` begins a comment line; quotes around a value are taken off.

    A file that is not there is an empty one; whether a name may stand in it, `is_known` says.
    """
    found = SettingsFile(path)
    try:
        text = read_text(path)
    except FileNotFoundError:
        return found
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({why(error)}).") from error
    lines: dict[str, int] = {}
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        fault = _take(raw, number, found, lines, is_known)
        if fault:
            found.faults.append(f"{path}, line {number}: {fault}")
    return found


def read_text(path: Path) -> str:
    """The file's text, without the mark that some editors put in front.

    Raises OSError, or ValueError for what is no UTF-8 or longer than any setting.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError("too long")
    return content.decode("utf-8-sig")


def why(error: Exception) -> str:
    """The fault of a file, in the system's words or ours."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _take(
    raw: str,
    number: int,
    found: SettingsFile,
    lines: dict[str, int],
    is_known: Callable[[str], bool],
) -> str:
    """Takes the line's value; gives what is wrong with it, or nothing."""
    stripped = re.sub(r"^export\s+", "", raw.strip())
    if not stripped or stripped.startswith("#"):
        return ""
    name, equals, value = stripped.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name.isidentifier():
        return "expected NAME=value."
    if not is_known(name):
        return f"{name} is not a setting of Switchboard."
    if name in lines:
        return f"{name} stands in line {lines[name]} already; keep one of them."
    lines[name] = number
    if value[:1] in _QUOTES:
        if len(value) < 2 or value[-1] != value[0]:
            return f"the value of {name} begins with a quote that does not end."
        value = value[1:-1]
    found.values[name] = value
    return ""
