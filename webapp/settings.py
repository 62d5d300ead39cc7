"""Reads the settings from the environment and `instance/switchboard.env`, and checks them.

What a value may look like is setting_kinds.py's; each fault is a sentence that names the setting,
and all of them are told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from webapp import setting_kinds as kinds
from webapp.environment import environment as process_environment
from webapp.errors import ConfigurationError
from webapp.mcp_setting import ServerEntry, mcp_servers
from webapp.setting_kinds import parse_duration, parse_size
from webapp.settings_file import read_settings_file, read_text, why

__all__ = ["LoadedSettings", "Settings", "load_settings", "parse_duration", "parse_size"]

PREFIX = "SWITCHBOARD_"
FOREIGN_NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
# What a client of Switchboard reads, `switchboard chat` for one: known here, and no setting.
CLIENT_NAMES = ("SWITCHBOARD_URL", "SWITCHBOARD_API_KEY")
SECRET_NAMES = frozenset(
    {"secret_key", "jwt_secret", "user_id_key", "openai_api_key", "database_url"}
    | {"rate_limit_storage_url", "mcp_servers"}
)
# These may hold a password or a key in their middle: shown through redaction.py alone.
URL_NAMES = frozenset({"openai_base_url", "jwt_jwks_url", "database_url", "rate_limit_storage_url"})
SETTINGS_FILE = "switchboard.env"
DEFAULT_TOOLKITS = ("calculator", "clock")


class Settings(BaseModel):
    """All settings, checked; a name in capitals after `SWITCHBOARD_` is the variable's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret_key: str = ""
    database_url: str = ""
    database_pool: int = Field(default=10, ge=2, le=1000)
    rate_limit: str = "60/minute;2000/day"
    rate_limit_storage_url: str = ""
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
    turn_timeout: float | None = Field(default=None, gt=0, le=86400)
    model_max_retries: int = Field(default=2, ge=0, le=10)
    model_breaker_failures: int = Field(default=10, ge=0, le=10_000)
    model_breaker_pause: float = Field(default=5.0, gt=0, le=3600)
    tools: Literal["auto", "on", "off"] = "auto"
    toolkits: tuple[str, ...] = DEFAULT_TOOLKITS
    http_get_hosts: tuple[str, ...] = ()
    mcp_servers: tuple[ServerEntry, ...] = ()
    tool_timeout: float = Field(default=60.0, gt=0, le=3600)
    approval_timeout: float = Field(default=86_400.0, ge=1, le=30 * 86_400)
    tool_result_max_chars: int = Field(default=32_000, ge=200, le=10_000_000)
    guardrails: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    workflow_runs_kept: int = Field(default=1000, ge=1, le=1_000_000)
    workflow_retention: float = Field(default=30 * 86400.0, gt=0)
    max_loops: int = Field(default=10, ge=1, le=100)
    memory_max_messages: int = Field(default=100, ge=0, le=1_000_000)
    tenant_max_sessions: int = Field(default=0, ge=0, le=1_000_000)
    tenant_max_messages: int = Field(default=0, ge=0, le=100_000_000)
    messages_max_age: float | None = Field(default=None, gt=0)
    context_max_messages: int = Field(default=100, ge=2, le=10_000)
    context_max_tokens: int = Field(default=0, ge=0, le=100_000_000)
    summary: bool = False
    message_max_chars: int = Field(default=32_000, ge=1, le=100_000_000)
    state_max_bytes: int = Field(default=64 * 1024, ge=2, le=16 * 1024**2)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, le=1024**3)
    tenant_queue: int = Field(default=4, ge=0, le=1000)
    concurrency: int = Field(default=1000, ge=1, le=100_000)
    workers: int = Field(default=0, ge=0, le=256)
    inactive_after: float | None = Field(default=None, gt=0)
    cleanup_interval: float = Field(default=3600.0, ge=1)
    request_retention: float = Field(default=35 * 86400.0, gt=0)
    session_idle: float = Field(default=1800.0, ge=1)
    hide_conversations: bool = False
    log_user_ids: bool = False
    user_id_key: str = ""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    openai_api_key: str = ""
    openai_base_url: str = ""

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        """Reads text by the setting's kind; other values, which tests hand in, are taken as they
        are."""
        read = KINDS.get(info.field_name or "")
        return read(value) if read is not None and isinstance(value, str) and value else value

    @property
    def session_max_messages(self) -> int:
        """The cap of one session; 0 keeps all. One session alone must not exceed its tenant's."""
        caps = (self.memory_max_messages, self.tenant_max_messages)
        return min((cap for cap in caps if cap), default=0)

    @property
    def turn_seconds(self) -> float:
        """The longest that a turn may take from the moment its place in the line has come."""
        return self.turn_timeout or 3 * self.model_timeout


def _listed(one: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Reads a list of them, in which `*` has no company."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(one(word) for word in kinds.words(text)))
        if "*" in found and len(found) > 1:
            raise ValueError("names * and others too; * alone means all of them")
        return found

    return read


def _lower(text: str) -> str:
    return text.strip().lower()


KINDS: Mapping[str, Callable[[str], object]] = {
    "database_url": kinds.database_url,
    "rate_limit": kinds.rate_limit,
    "rate_limit_storage_url": kinds.limit_storage_url,
    "token_budget": kinds.token_budget,
    "auth": _lower,
    "jwt_secret": kinds.secret,
    "jwt_jwks_url": kinds.key_set_url,
    "jwt_audience": kinds.line,
    "jwt_issuer": kinds.line,
    "cors_origins": _listed(kinds.origin),
    "allowed_hosts": _listed(kinds.host_pattern),
    "toolkits": _listed(kinds.toolkit),
    "mcp_servers": mcp_servers,
    "http_get_hosts": _listed(kinds.host_pattern),
    "guardrails": kinds.guardrails,
    "workflows": _listed(kinds.workflow),
    "agent_name": kinds.line,
    "model": kinds.line,
    "tools": kinds.auto_or_truth,
    "user_id_key": kinds.secret,
    "log_format": _lower,
    "log_level": str.upper,
    "openai_api_key": kinds.header_value,
    "openai_base_url": kinds.model_url,
    **dict.fromkeys(("max_body_bytes", "state_max_bytes"), kinds.parse_size),
    **dict.fromkeys(
        ("model_timeout", "turn_timeout", "session_idle", "inactive_after") + ("messages_max_age",),
        kinds.parse_duration,
    ),
    **dict.fromkeys(
        ("cleanup_interval", "request_retention", "model_breaker_pause", "tool_timeout")
        + ("approval_timeout",),
        kinds.parse_duration,
    ),
    **dict.fromkeys(
        ("trusted_proxies", "model_max_retries", "max_loops", "memory_max_messages")
        + ("database_pool", "tenant_max_sessions", "tenant_max_messages")
        + ("tool_result_max_chars",),
        kinds.whole_number,
    ),
    **dict.fromkeys(
        ("context_max_messages", "message_max_chars", "tenant_queue", "concurrency", "workers"),
        kinds.whole_number,
    ),
    "model_breaker_failures": kinds.whole_number,
    "context_max_tokens": kinds.whole_number,
    **dict.fromkeys(("hide_conversations", "log_user_ids", "summary"), kinds.truth),
}
"""How each setting's text is read; one that is not here is taken as it stands."""

Source = Literal["environment", "file", "secret file", "default"]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings in force, where each came from, and the folder that belongs to them."""

    values: Settings
    instance_path: Path
    sources: Mapping[str, Source] = field(default_factory=dict)
    # Whether the server that asked for them is `dev`'s own, which listens to this machine alone.
    for_this_machine: bool = False

    def source_of(self, name: str) -> Source:
        return self.sources.get(name, "default")

    @property
    def file(self) -> Path:
        """Where settings may stand; it need not be there."""
        return self.instance_path / SETTINGS_FILE


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
    folder = default_instance_path() if instance_path is None else instance_path
    file = read_settings_file(folder / SETTINGS_FILE, lambda name: _field_name(name) is not None)
    faults = list(file.faults)
    given: dict[str, _Given] = {}
    environment = process_environment() if environ is None else environ
    # The later layer goes before the earlier one.
    given |= _layer(file.values, "file", faults, f" in {file.path}")
    given |= _layer(environment, "environment", faults, "")
    texts: dict[str, str] = {}
    for key, value in given.items():
        try:
            texts[key] = value.text()
        except (OSError, ValueError) as error:
            faults.append(
                f"{value.variable}{value.place} names a file that cannot be read ({why(error)})."
            )
    settings = _check(texts, given, faults)
    if not settings.database_url:
        settings = settings.model_copy(
            update={"database_url": f"sqlite:///{folder / 'switchboard.db'}"}
        )
    if not settings.rate_limit_storage_url:
        # Several workers count together, so in a file; one alone counts in memory.
        url = "memory://" if settings.workers == 1 else _limits_file(settings, folder)
        settings = settings.model_copy(update={"rate_limit_storage_url": url})
    return LoadedSettings(settings, folder, {key: given[key].source for key in texts})


def _limits_file(settings: Settings, folder: Path) -> str:
    if settings.database_url.startswith("sqlite:"):
        return f"{settings.database_url}-limits"
    return f"sqlite:///{folder / 'switchboard-limits.db'}"


def client_settings(environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """The URL and the key that `switchboard chat` uses when it is told no others."""
    environment = process_environment() if environ is None else environ
    url, key = (environment.get(name, "").strip() or None for name in CLIENT_NAMES)
    return url, key


@dataclass(frozen=True, slots=True)
class _Given:
    """One setting as one source gives it: the text itself, or the name of its file."""

    variable: str
    written: str
    source: Source
    place: str

    def text(self) -> str:
        if self.source != "secret file":
            return self.written
        return read_text(Path(self.written)).strip()


def _layer(
    layer: Mapping[str, str], source: Source, faults: list[str], place: str
) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for name, raw in layer.items():
        key = _field_name(name)
        if key is None or name in CLIENT_NAMES:
            continue
        text = raw if key == "instructions" else raw.strip()
        target = key if key in Settings.model_fields else key.removesuffix("_file")
        if target not in Settings.model_fields:
            faults.append(f"{name}{place} is not a setting of Switchboard; {_advice(name)}")
        elif not text and key != "instructions":
            continue  # an empty variable is an unset one, as container tools write them
        elif target in found:
            other = found[target].variable
            faults.append(f"{other} and {name}{place} are both set; keep one of them.")
        else:
            kind: Source = source if key == target else "secret file"
            found[target] = _Given(name, text, kind, place)
    return found


def _advice(name: str) -> str:
    # What they have in common would make any two alike.
    word = name.upper().removeprefix(PREFIX)
    near = difflib.get_close_matches(word, [key.upper() for key in Settings.model_fields], 1)
    return f"did you mean {variable_name(near[0].lower())}?" if near else "check its spelling."


def _check(texts: Mapping[str, str], given: Mapping[str, _Given], faults: list[str]) -> Settings:
    settings = Settings()
    try:
        settings = Settings.model_validate(texts)
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0]) if fault["loc"] else "settings"
            source = given[name]
            faults.append(f"{source.variable}{source.place} {_must(fault)}.")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return settings


def _must(fault: Any) -> str:
    """The fault as the end of a sentence; what was written is not in it."""
    limits: Mapping[str, Any] = fault.get("ctx") or {}
    match fault["type"]:
        case "value_error":
            return str(limits["error"])
        case "literal_error":
            return f"must be {limits['expected'].replace(chr(39), '')}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']:,g}"
        case "less_than_equal":
            return f"must be at most {limits['le']:,.0f}"
        case "greater_than":
            return f"must be more than {limits['gt']:g}"
        case "string_too_long":
            return f"must have at most {limits['max_length']:,} characters"
    reason = str(fault["msg"])
    return f"is wrong: {reason[:1].lower()}{reason[1:]}"


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
