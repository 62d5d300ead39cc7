"""Reads one setting's text, or says in a clause what it must be; the settings themselves are in
settings.py.

Each function raises `ValueError` with the end of a sentence that begins with the setting's name.
What was written is never repeated: it may be a secret that stands in the wrong place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from webapp.allowances import check_rate_limit, parse_budget
from webapp.errors import InvalidInput
from webapp.listed_parts import parts_of
from webapp.secret_strength import ENOUGH_BITS, bits_of

MIN_SECRET_CHARS = 32
LONGEST_JUDGED = 1024
LONGEST_SECONDS = 100 * 366 * 86_400.0
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# What the limits package can count in from threads and that Switchboard was tried with.
LIMIT_STORAGES = (
    *("memory", "sqlite"),
    *("redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster"),
    *("valkey", "valkeys", "valkey+unix", "valkey+sentinel", "valkey+cluster"),
)

_DURATION = re.compile(r"(\d{1,12})\s*(ms|s|m|h|d)?", re.ASCII)
_TOOLKIT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,15})\s*(b|kb|kib|mb|mib|k|m)?", re.ASCII)
_SIZES = {"b": 1, "k": 1024, "kb": 1000, "kib": 1024, "m": 1024**2, "mb": 1000**2, "mib": 1024**2}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def parse_duration(text: str | float) -> float:
    """Seconds from `90`, `90s`, `15m`, `24h` or `7d`; raises ValueError on anything else."""
    if isinstance(text, int | float):
        return float(text)
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("must be a length of time such as 90s, 15m, 24h or 7d")
    seconds = int(match[1]) * _UNITS[match[2] or "s"]
    if seconds > LONGEST_SECONDS:
        raise ValueError("must be a length of time of at most a hundred years")
    return seconds


def in_units(seconds: float) -> str:
    """The length of time as people write it, in the largest unit that leaves no fraction."""
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(_UNITS.items()):
        number, rest = divmod(milliseconds, round(size * 1000))
        if number and not rest:
            return f"{number}{unit}"
    return f"{milliseconds}ms"


def parse_size(text: str | int) -> int:
    """Bytes from `1048576`, `512KiB` or `1MiB`; raises ValueError on anything else."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("must be a size such as 65536, 512KiB or 1MiB")
    return int(match[1]) * _SIZES[match[2] or "b"]


def whole_number(text: str) -> int:
    """An integer in plain digits."""
    if _WHOLE.fullmatch(text.strip()) is None:
        raise ValueError("must be a whole number")
    return int(text)


def truth(text: str) -> bool:
    """`true` or `false`, also written yes and no, on and off, 1 and 0."""
    found = _TRUTHS.get(text.strip().lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def auto_or_truth(text: str) -> str:
    """`auto`, or `on` or `off` in any way in which a truth is written."""
    word = text.strip().lower()
    if word == "auto":
        return word
    if word not in _TRUTHS:
        raise ValueError("must be auto, on or off")
    return "on" if _TRUTHS[word] else "off"


def words(text: str) -> tuple[str, ...]:
    """The words between commas and white space."""
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def line(text: str) -> str:
    """A text of one line, as names are."""
    if not text.strip():
        raise ValueError("must not be blank")
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


def secret(text: str) -> str:
    """A secret that cannot be guessed: long, and not made of words, rows of keys or repetitions."""
    advice = f"use at least {MIN_SECRET_CHARS} random characters"
    if len(text) < MIN_SECRET_CHARS or len(set(text)) < 10:
        raise ValueError(f"is weak; {advice}")
    # Longer ones are not looked at to their end: this takes time by the square of the length.
    if bits_of(text[:LONGEST_JUDGED]) < ENOUGH_BITS:
        raise ValueError(f"is weak: it is made of words, rows of keys or repetitions; {advice}")
    return text


def header_value(text: str) -> str:
    """A value that can be sent in a header: no line break, no curly quote."""
    if any(not "!" <= char <= "~" for char in text):
        raise ValueError("must consist of ASCII characters without white space; copy it again")
    return text


def rate_limit(text: str) -> str:
    return _by_rule(check_rate_limit, text, "must look like 60/minute;2000/day")


def token_budget(text: str) -> str:
    return _by_rule(parse_budget, text, "must look like 100000/day;2000000/month")


def database_url(text: str) -> str:
    """`sqlite:///` and the path of a file, or `postgresql://` and the place of a server."""
    if text.startswith(("postgresql://", "postgres://")):
        if not text.isprintable() or any(char.isspace() for char in text):
            raise ValueError("must look like postgresql://user:password@host:5432/database")
        return text
    if not text.startswith("sqlite:///"):
        raise ValueError(
            "is not one this version can use; write sqlite:///path/to/switchboard.db, with three"
            " slashes, or four before an absolute path, or"
            " postgresql://user:password@host:5432/database"
        )
    _file_of(text, "switchboard.db")
    return text


def limit_storage_url(text: str) -> str:
    """Where the limiter counts."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in LIMIT_STORAGES:
        raise ValueError(
            "must begin with memory://, sqlite:///, redis:// or another scheme of Redis or Valkey"
        )
    if scheme == "memory" and rest.strip("/"):
        raise ValueError("must be memory:// alone; limits in memory have no address")
    if scheme == "sqlite":
        if not rest.startswith("/"):
            raise ValueError("must name a file with three slashes: sqlite:///path/to/limits.db")
        _file_of(text, "limits.db")
    elif scheme != "memory" and "sentinel" not in scheme and "cluster" not in scheme:
        _split(text, "must look like redis://host:6379/0")
    return text


def model_url(text: str) -> str:
    """The base URL of an OpenAI-compatible server."""
    example = "must be a URL such as https://api.openai.com/v1"
    parts = _split(text, example)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(example)
    if parts.fragment:
        raise ValueError("must be a URL without a # in it")
    return text


def key_set_url(text: str) -> str:
    """The URL of a key set: https, or http on this machine."""
    example = "must be a URL that begins with https://"
    parts = _split(text, example)
    local = parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES
    if not parts.hostname or (parts.scheme != "https" and not local):
        raise ValueError(example)
    return text


def origin(text: str) -> str:
    """A browser's origin as browsers send it: scheme, host, and a port that is not the usual."""
    example = "must be origins such as https://app.example.org, or *"
    if text == "*":
        return text
    lowered = text.lower()
    parts = _split(lowered, example)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError(example)
    if parts.path or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("must be origins without a path and without a slash at the end")
    if "*" in parts.netloc:
        raise ValueError("must name each origin whole; a * stands alone and means all of them")
    if not _is_host(parts.hostname):
        raise ValueError(example)
    if parts.netloc.endswith(":") or parts.port == DEFAULT_PORTS[parts.scheme]:
        raise ValueError("must leave the usual port out, as browsers do")
    return lowered


def host_pattern(text: str) -> str:
    """A host's name or address, `.example.org` for all below it, or `*`."""
    if text == "*":
        return text
    if "://" in text or "/" in text:
        raise ValueError("must be names of hosts alone, without http:// and without a path")
    name = text.lower()
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if ":" in name:
        raise ValueError("must be names of hosts alone, without a port")
    if name.startswith("*."):
        raise ValueError("must say .example.org for all hosts below it, not *.example.org")
    name = name.rstrip(".")
    if not _is_host(name.removeprefix(".")):
        raise ValueError("must be names of hosts such as chat.example.org or .example.org")
    return name


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return 1 <= len(name) <= 253 and all(_LABEL.fullmatch(part) for part in name.split("."))
    return True


def _file_of(url: str, example: str) -> None:
    path = url.split(":///", 1)[1]
    if not path.strip("/") or path.endswith("/") or path == ":memory:":
        raise ValueError(f"must name a file: sqlite:///path/to/{example}")
    if not path.isprintable():
        raise ValueError("must name a file without control characters")


def _split(text: str, example: str) -> SplitResult:
    """The URL's parts, whose port can be read from now on."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(example) from None
    if port == 0 or not text.isprintable() or any(char.isspace() for char in text):
        raise ValueError(example)
    return parts


def _by_rule(rule: Callable[[str], object], text: str, sentence: str) -> str:
    try:
        rule(text)
    except InvalidInput:
        raise ValueError(sentence) from None
    return text


def toolkit(text: str) -> str:
    """A toolkit's name or its import path."""
    try:
        return text if _TOOLKIT.fullmatch(text) else import_path(text)
    except ValueError:
        raise ValueError(
            "must name toolkits such as calculator, or import paths such as"
            " my_package.tools:toolkit"
        ) from None


def workflow(text: str) -> str:
    """A workflow's name among those of installed packages, or its import path."""
    try:
        return text if _TOOLKIT.fullmatch(text) else import_path(text)
    except ValueError:
        raise ValueError("must name import paths such as my_package.flows:support") from None


def import_path(text: str) -> str:
    """`package.module:name`; whether there is such a thing is seen where it is imported."""
    if not _is_import_path(text):
        raise ValueError("must name import paths such as my_package.tools:toolkit")
    return text


def guardrails(text: str) -> tuple[str, ...]:
    """Names, some with parameters, and import paths; whether there are such is seen later."""
    try:
        parts = parts_of(text)
        if not all(_NAME.fullmatch(part.name) or _is_import_path(part.name) for part in parts):
            raise ValueError
    except ValueError:
        raise ValueError(
            "must be a list of names and import paths such as length(input=4000), personal-data,"
            " my_package.checks:polite; a parameter with other signs than letters and digits stands"
            " in quotes"
        ) from None
    return tuple(dict.fromkeys(part.text for part in parts))


def _is_import_path(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in f"{module}.{name}".split("."))
