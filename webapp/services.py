"""Chooses the implementations and puts them together, once for each application; no Flask here."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webapp.accounts.admins import Admins
from webapp.accounts.audit import AuditLog
from webapp.accounts.keys import Keys
from webapp.accounts.passwords import Passwords
from webapp.accounts.sign_in import SignIn
from webapp.accounts.tokens import Tokens
from webapp.agent import Agent, Guardrail, Model, Toolkit
from webapp.allowances import parse_budget
from webapp.chat.configuration import AgentConfiguration, AgentConfigurations
from webapp.chat.service import ChatService
from webapp.chat.values import ChatLimits
from webapp.clock import Clock, SystemClock
from webapp.errors import ConfigurationError
from webapp.extensions import Extensions, extensions_of
from webapp.instance_secret import instance_secret, instance_secret_if_any
from webapp.local_model import health
from webapp.settings import LoadedSettings, Settings
from webapp.stopping import Stopping
from webapp.storage import Database, open_database
from webapp.tenant_data.acts import TenantActs
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.user_ids.forms import PlainUserIds, UserIds
from webapp.turn_room import TurnRoom
from webapp.turns import LocalTurnQueue

if TYPE_CHECKING:
    from webapp.accounts.jwks import KeySet
    from webapp.agent.openai_model import OpenAIModel

AUDIT_HEAD_STEP = "_audit_head"
AUDIT_PURPOSE = "audit log"
EMBEDDED_MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the application. It holds no request's data."""

    loaded: LoadedSettings
    database: Database
    clock: Clock
    user_ids: UserIds
    configurations: AgentConfigurations
    extensions: Callable[[], Extensions]
    chat: ChatService
    audit: AuditLog
    keys: Keys
    tokens: Tokens
    directory: TenantDirectory
    acts: TenantActs
    admins: Admins
    sign_in: SignIn
    stopping: Stopping
    console_secret: bytes = field(repr=False)

    @property
    def settings(self) -> Settings:
        return self.loaded.values

    @property
    def toolkits(self) -> tuple[Toolkit, ...]:
        """Those that the model is told of."""
        return _toolkits(self.settings, self.extensions)

    def upgrade_database(self) -> list[str]:
        """Makes or migrates the schema; gives the steps taken."""
        steps = self.database.upgrade()
        # Only then: a head without a seal is otherwise somebody's work, and must be seen.
        if any(step.endswith(AUDIT_HEAD_STEP) for step in steps):
            self.database.write_long(self.audit.begin)
        return steps

    def require_sound_database(self) -> None:
        """Raises `StorageUnavailable`, `SchemaOutOfDate`, or `ConfigurationError` when the user
        ids in it are not those of `USER_ID_KEY`."""
        from webapp.tenant_data.encryption import check_user_id_key

        self.database.check()
        check_user_id_key(self.database, self.user_ids)

    def close(self) -> None:
        """Leaves everything in the database's one file; the process ends, or this use of it."""
        self.chat.close()
        self.database.close()

    def warm_up(self) -> None:
        """Makes the agent and its model now, so that the first turn need not wait for imports."""
        with self.database.read() as connection:
            self.configurations.agent(connection)

    def embedded_model_answers(self) -> bool | None:
        """Whether the embedded model is there; None when another answers, which is not asked."""
        settings = self.settings
        if settings.model != EMBEDDED_MODEL or not settings.openai_base_url:
            return None
        return health.answers(settings.openai_base_url)

    @property
    def open_to_this_machine(self) -> bool:
        """`AUTH=open`: whoever reaches the loopback port may do everything; `dev` alone has it."""
        return self.settings.auth == "open"


def build_services(
    loaded: LoadedSettings,
    *,
    clock: Clock | None = None,
    model: Model | None = None,
    toolkits: Iterable[Toolkit] | None = None,
    guardrails: Iterable[Guardrail] | None = None,
) -> Services:
    """Puts everything together. Opens no connection yet; raises `ConfigurationError`."""
    settings = loaded.values
    ticking = clock or SystemClock()
    database = open_database(settings.database_url)
    secret = settings.secret_key or instance_secret(loaded.instance_path)
    audit = audit_log(loaded, ticking)
    user_ids = _user_ids(settings, secret)
    extensions = extensions_of(
        settings.toolkits, settings.guardrails, toolkits=toolkits, guardrails=guardrails
    )
    configurations = _configurations(settings, database, ticking, model, extensions)
    keys = Keys(database, user_ids, audit=audit, clock=ticking)
    passwords = Passwords()
    directory = TenantDirectory(database, user_ids, ticking, encrypted=bool(settings.user_id_key))
    stopping = Stopping()
    return Services(
        loaded=loaded,
        database=database,
        clock=ticking,
        user_ids=user_ids,
        configurations=configurations,
        extensions=extensions,
        chat=ChatService(
            database=database,
            user_ids=user_ids,
            configurations=configurations,
            queue=LocalTurnQueue(),
            room=TurnRoom(settings.concurrency),
            stopping=stopping,
            clock=ticking,
            limits=_chat_limits(settings),
        ),
        audit=audit,
        keys=keys,
        tokens=_tokens(settings, secret, keys, ticking),
        directory=directory,
        acts=TenantActs(
            database,
            user_ids,
            ticking,
            directory,
            memory_max_messages=settings.memory_max_messages,
        ),
        admins=Admins(database, passwords, audit=audit, clock=ticking),
        sign_in=SignIn(
            database,
            passwords,
            audit=audit,
            browser_secret=derived_secret(secret, "known browsers"),
            idle_seconds=settings.session_idle,
            dev_accounts=loaded.for_this_machine,
            clock=ticking,
        ),
        stopping=stopping,
        console_secret=derived_secret(secret, "console"),
    )


def audit_log(loaded: LoadedSettings, clock: Clock | None = None) -> AuditLog:
    """The audit log alone, for whoever proves it and needs nothing else."""
    folder, chosen = loaded.instance_path, loaded.values.secret_key
    first = instance_secret_if_any(folder) if chosen else None
    return AuditLog(
        derived_secret(chosen or instance_secret(folder), AUDIT_PURPOSE),
        clock or SystemClock(),
        first_key=None if first is None else derived_secret(first, AUDIT_PURPOSE),
    )


def derived_secret(secret: str, purpose: str) -> bytes:
    """A secret of its own for each purpose, so that none can stand in for another."""
    return hmac.digest(secret.encode("utf-8"), purpose.encode("ascii"), "sha256")


def _user_ids(settings: Settings, secret: str) -> UserIds:
    reference_key = derived_secret(secret, "user references")
    if not settings.user_id_key:
        return PlainUserIds(reference_key)
    from webapp.tenants.user_ids.encrypted import EncryptedUserIds

    return EncryptedUserIds(settings.user_id_key, reference_key)


def _chat_limits(settings: Settings) -> ChatLimits:
    return ChatLimits(
        message_max_chars=settings.message_max_chars,
        memory_max_messages=settings.memory_max_messages,
        waiting_turns=settings.tenant_queue,
        token_budget=parse_budget(settings.token_budget),
    )


def _configurations(
    settings: Settings,
    database: Database,
    ticking: Clock,
    model: Model | None,
    extensions: Callable[[], Extensions],
) -> AgentConfigurations:
    original = AgentConfiguration(
        name=settings.agent_name,
        model=settings.model,
        instructions=settings.instructions,
        context_max_messages=settings.context_max_messages,
        max_loops=settings.max_loops,
    )
    named = _one_for_all(model) if model is not None else _OpenAIModels(settings).named

    def build(configuration: AgentConfiguration) -> Agent:
        return Agent(
            name=configuration.name,
            model=named(configuration.model),
            instructions=configuration.instructions,
            toolkits=_toolkits(settings, extensions),
            guardrails=extensions().guardrails,
            max_loops=configuration.max_loops,
            context_max_messages=configuration.context_max_messages,
            turn_timeout=settings.turn_seconds,
        )

    return AgentConfigurations(database, ticking, original, build)


def _has_tools(settings: Settings) -> bool:
    # The embedded model is too small to call tools, and descriptions confuse it.
    if settings.model == EMBEDDED_MODEL:
        return settings.tools == "on"
    return settings.tools != "off"


def _toolkits(settings: Settings, extensions: Callable[[], Extensions]) -> tuple[Toolkit, ...]:
    return extensions().toolkits if _has_tools(settings) else ()


def _one_for_all(model: Model) -> Callable[[str], Model]:
    return lambda _name: model


class _OpenAIModels:
    """The models of one server over one client, made when the first is asked for: a command that
    runs no turn needs neither the client's slow import nor a key."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._first: OpenAIModel | None = None

    def named(self, name: str) -> Model:
        if self._first is None:
            self._first = openai_model(self._settings)
        return self._first.named(name)


def openai_model(settings: Settings) -> OpenAIModel:
    """The model that the settings name; `ConfigurationError` when they name no server."""
    from webapp.agent.openai_model import OpenAIModel

    if not settings.openai_api_key and not settings.openai_base_url:
        raise ConfigurationError(
            "There is no model: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server."
        )
    return OpenAIModel(
        settings.model,
        # A server of one's own often wants no key, but the client insists on some text.
        api_key=settings.openai_api_key or "none",
        base_url=settings.openai_base_url or None,
        timeout=settings.model_timeout,
        max_retries=settings.model_max_retries,
        tools_required=settings.tools == "on",
    )


def _tokens(settings: Settings, secret: str, keys: Keys, ticking: Clock) -> Tokens:
    own_secret = settings.jwt_secret
    if not own_secret and not settings.jwt_jwks_url and settings.auth == "open":
        own_secret = derived_secret(secret, "tokens").hex()
    return Tokens(
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        secret=own_secret,
        key_set=_key_set(settings, ticking),
        standing_of=keys.standing,
        clock=ticking,
    )


def _key_set(settings: Settings, ticking: Clock) -> KeySet | None:
    if not settings.jwt_jwks_url:
        return None
    from webapp.accounts.jwks import KeySet

    return KeySet(settings.jwt_jwks_url, clock=ticking)
