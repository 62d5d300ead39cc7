"""Reads the settings from the environment and `instance/switchboard.env`; nothing else does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from webapp.errors import ConfigurationError

PREFIX = "SWITCHBOARD_"
FOREIGN_NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
SECRET_NAMES = frozenset(
    {"secret_key", "jwt_secret", "user_id_key", "openai_api_key", "database_url"}
    | {"rate_limit_storage_url"}
)
SETTINGS_FILE = "switchboard.env"
MIN_SECRET_CHARS = 32

_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(b|kb|kib|mb|mib|k|m)?", re.ASCII)
_SIZES = {"b": 1, "k": 1024, "kb": 1000, "kib": 1024, "m": 1024**2, "mb": 1000**2, "mib": 1024**2}


def parse_duration(text: str | float) -> float:
    """Seconds from `90`, `90s`, `15m`, `24h` or `7d`; raises ValueError on anything else."""
    if isinstance(text, int | float):
        return float(text)
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("must be a length of time such as 90s, 15m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2] or "s"]


def parse_size(text: str | int) -> int:
    """Bytes from `1048576`, `512KiB` or `1MiB`; raises ValueError on anything else."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("must be a size such as 65536, 512KiB or 1MiB")
    return int(match[1]) * _SIZES[match[2] or "b"]


def _words(text: object) -> object:
    return (
        tuple(re.split(r"[\s,]+", text.strip())) if isinstance(text, str) and text.strip() else ()
    )


class Settings(BaseModel):
    """All settings, checked; a name in capitals after `SWITCHBOARD_` is the variable's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret_key: str = ""
    database_url: str = ""
    rate_limit: str = "60/minute;2000/day"
    rate_limit_storage_url: str = "memory://"
    token_budget: str = ""
    auth: Literal["required", "open"] = "required"
    jwt_secret: str = ""
    jwt_jwks_url: str = ""
    jwt_audience: str = "switchboard"
    jwt_issuer: str = "switchboard"
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    agent_name: str = Field(default="assistant", min_length=1, max_length=100)
    instructions: str = Field(default="You are a helpful assistant.", max_length=32_000)
    model: str = Field(default="gpt-4o-mini", min_length=1, max_length=200)
    model_timeout: float = Field(default=60.0, gt=0, le=3600)
    model_max_retries: int = Field(default=2, ge=0, le=10)
    max_loops: int = Field(default=10, ge=1, le=100)
    memory_max_messages: int = Field(default=100, ge=0)
    context_max_messages: int = Field(default=100, ge=2)
    message_max_chars: int = Field(default=32_000, ge=1)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    tenant_queue: int = Field(default=4, ge=0, le=1000)
    inactive_after: float | None = Field(default=None, gt=0)
    cleanup_interval: float = Field(default=3600.0, gt=0)
    request_retention: float = Field(default=35 * 86400.0, gt=0)
    session_idle: float = Field(default=1800.0, gt=0)
    hide_conversations: bool = False
    log_user_ids: bool = False
    user_id_key: str = ""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    openai_api_key: str = ""
    openai_base_url: str = ""

    @field_validator(
        "model_timeout",
        "inactive_after",
        "cleanup_interval",
        "request_retention",
        "session_idle",
        mode="before",
    )
    @classmethod
    def _durations(cls, value: Any) -> Any:
        return None if value in (None, "") else parse_duration(value)

    @field_validator("max_body_bytes", mode="before")
    @classmethod
    def _sizes(cls, value: Any) -> Any:
        return parse_size(value)

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return _words(value) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


Source = Literal["environment", "file", "secret file", "default"]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings in force, where each came from, and the folder that belongs to them."""

    values: Settings
    instance_path: Path
    sources: Mapping[str, Source] = field(default_factory=dict)

    def source_of(self, name: str) -> Source:
        return self.sources.get(name, "default")


def default_instance_path() -> Path:
    """`instance/` beside the source tree's pyproject.toml, else under the current folder."""
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "pyproject.toml").is_file() else Path.cwd()) / "instance"


def load_settings(
    environ: Mapping[str, str] | None = None, instance_path: Path | None = None
) -> LoadedSettings:
    """Reads, checks and completes the settings.

    The environment goes before the file. Raises `ConfigurationError` with one sentence for each
    unknown name and each bad value; a value itself is never repeated in it.
    """
    environment = dict(os.environ if environ is None else environ)
    folder = default_instance_path() if instance_path is None else instance_path
    values: dict[str, str] = {}
    sources: dict[str, Source] = {}
    faults: list[str] = []
    layers: tuple[tuple[Source, Mapping[str, str]], ...] = (
        ("file", _read_env_file(folder / SETTINGS_FILE)),
        ("environment", environment),
    )
    for source, layer in layers:
        for name, text in layer.items():
            key = _field_name(name)
            if key is None:
                continue
            if not text and key != "instructions":
                continue  # an empty variable is an unset one, as container tools write them
            if key in Settings.model_fields:
                values[key], sources[key] = text, source
            elif key.removesuffix("_file") in Settings.model_fields:
                target = key.removesuffix("_file")
                try:
                    values[target] = Path(text).read_text(encoding="utf-8").strip()
                    sources[target] = "secret file"
                except (OSError, UnicodeDecodeError) as error:
                    faults.append(f"{name} names a file that cannot be read ({_why(error)}).")
            else:
                faults.append(f"{name} is not a setting of Switchboard; check its spelling.")
    settings = _check(values, faults)
    if not settings.database_url:
        settings = settings.model_copy(
            update={"database_url": f"sqlite:///{folder / 'switchboard.db'}"}
        )
    return LoadedSettings(settings, folder, sources)


def _check(values: Mapping[str, str], faults: list[str]) -> Settings:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0]) if fault["loc"] else "settings"
            reason = fault["msg"].removeprefix("Value error, ")
            faults.append(f"{variable_name(name)} is wrong: {reason[:1].lower()}{reason[1:]}.")
        raise ConfigurationError("\n".join(faults)) from None
    if faults:
        raise ConfigurationError("\n".join(faults))
    return settings


def variable_name(field_name: str) -> str:
    """The environment variable of a field of `Settings`."""
    upper = field_name.upper()
    return upper if upper in FOREIGN_NAMES else PREFIX + upper


def _field_name(variable: str) -> str | None:
    if variable.startswith(PREFIX):
        return variable.removeprefix(PREFIX).lower()
    if variable in FOREIGN_NAMES or variable.removesuffix("_FILE") in FOREIGN_NAMES:
        return variable.lower()
    return None


def _read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines; `#` begins a comment line; quotes around a value are taken off."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({_why(error)}).") from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ConfigurationError(f"{path}, line {number}: expected NAME=value.")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        if _field_name(name.strip()) is None:
            raise ConfigurationError(
                f"{path}, line {number}: {name.strip()} is not a setting of Switchboard."
            )
        values[name.strip()] = value
    return values


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
