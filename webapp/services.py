"""Chooses the implementations and puts them together, once for each application; no Flask here."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from webapp.access import audit_log, derived_secret, line_names, tokens_of, user_ids_of
from webapp.accounts.admins import Admins
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import AuditLog
from webapp.accounts.keys import Keys
from webapp.accounts.sign_in import SignIn
from webapp.accounts.tokens import Tokens
from webapp.agent import Guardrail, MCPToolkit, Model
from webapp.agent.toolkits import calculator, http_get, notes
from webapp.agent.toolkits import clock as clock_toolkit
from webapp.allowances import parse_budget
from webapp.chat.configuration import AgentConfigurations
from webapp.chat.idempotency import RunningKeys
from webapp.chat.service import ChatService
from webapp.chat.tenant_notes import TenantNotes
from webapp.chat.values import ChatLimits
from webapp.clock import Clock, SystemClock
from webapp.extensions import AnyToolkit, BuiltIn, Extensions, extensions_of, workflows_of
from webapp.instance_secret import instance_secret
from webapp.local_model import health
from webapp.mcp_servers import import_package, mcp_toolkits
from webapp.memory.limiting.limits import DropCount, TenantLimits
from webapp.served_agent import EMBEDDED_MODEL, ServedAgent
from webapp.served_workflows.left_behind import LeftBehind
from webapp.served_workflows.service import WorkflowService
from webapp.settings import LoadedSettings, Settings
from webapp.stopping import Stopping
from webapp.storage import Database, open_database, open_turn_lines
from webapp.storage.unfinished import require_no_unfinished_copy
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.session_acts import SessionActs
from webapp.tenant_data.session_cleanup import SessionCleanup
from webapp.tenant_data.session_states import SessionStates
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.user_ids.forms import UserIds
from webapp.turn_room import TurnRoom
from webapp.turns.shared import SharedTurnQueue
from webapp.workflow import Workflow
from webapp.workflow.stored import StoredWorkflows

AUDIT_HEAD_STEP = "_audit_head"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the application. It holds no request's data."""

    loaded: LoadedSettings
    database: Database
    clock: Clock
    user_ids: UserIds
    configurations: AgentConfigurations
    extensions: Callable[[], Extensions]
    served_agent: ServedAgent
    turns: SharedTurnQueue
    chat: ChatService
    audit: AuditLog
    keys: Keys
    tokens: Tokens
    directory: TenantDirectory
    acts: TenantActs
    sessions: SessionActs
    workflows: WorkflowService
    left_behind: LeftBehind
    states: SessionStates
    session_cleanup: SessionCleanup
    dropped: DropCount
    admins: Admins
    sign_in: SignIn
    stopping: Stopping
    console_secret: bytes = field(repr=False)
    cursor_secret: bytes = field(repr=False)
    closed: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def settings(self) -> Settings:
        return self.loaded.values

    @property
    def toolkits(self) -> tuple[AnyToolkit, ...]:
        """Those that the model is told of."""
        return self.served_agent.toolkits

    @property
    def mcp_toolkits(self) -> tuple[MCPToolkit, ...]:
        """Those of MCP servers among them."""
        return tuple(kit for kit in self.toolkits if isinstance(kit, MCPToolkit))

    def upgrade_database(self) -> list[str]:
        """Makes or migrates the schema; gives the steps taken."""
        steps = self.database.upgrade()
        # Only then: a head without a seal is otherwise somebody's work, and must be seen.
        if any(step.endswith(AUDIT_HEAD_STEP) for step in steps):
            self.database.write_long(self.audit.begin)
        return steps

    def require_sound_database(self) -> None:
        """Raises `StorageUnavailable`, also for an unfinished copy, `SchemaOutOfDate`, or
        `ConfigurationError` when the user ids in it are not those of `USER_ID_KEY`."""
        from webapp.tenant_data.encryption import check_user_id_key

        self.database.check()
        require_no_unfinished_copy(self.database)
        check_user_id_key(self.database, self.user_ids)

    def close(self) -> None:
        """Ends the chores, writes what waits, closes the model's and the database's connections.

        Each part is closed also when another fails. It may be called again.
        """
        with ExitStack() as parts:
            parts.callback(self.database.close)
            parts.callback(self.served_agent.close)
            parts.callback(self.workflows.close)
            parts.callback(self.chat.close)
            parts.callback(self.closed.set)

    def warm_up(self) -> None:
        """Makes the agent and its model now, so that the first turn need not wait for imports."""
        # `openai` asks for it with its first request, and a program is started to find it out: a
        # fork of the worker, with all that it is doing.
        platform.platform()
        with self.database.read() as connection:
            self.configurations.agent(connection)
        if self.settings.mcp_servers:
            import_package()

    def connect(self) -> None:
        """Begins to connect to MCP servers; for a process that runs turns."""
        self.served_agent.connect()

    @property
    def has_embedded_model(self) -> bool:
        """Another model's server is not asked whether it is there."""
        settings = self.settings
        return settings.model == EMBEDDED_MODEL and bool(settings.openai_base_url)

    def embedded_model_answers(self) -> bool:
        """Whether the embedded model is there."""
        return health.answers(self.settings.openai_base_url)

    @property
    def open_to_this_machine(self) -> bool:
        """`AUTH=open`: every caller at the loopback port may do everything; only `dev` has it."""
        return self.settings.auth == "open"


def build_services(
    loaded: LoadedSettings,
    *,
    clock: Clock | None = None,
    model: Model | None = None,
    toolkits: Iterable[AnyToolkit] | None = None,
    guardrails: Iterable[Guardrail] | None = None,
    workflows: Iterable[Workflow] | None = None,
) -> Services:
    """Puts everything together. Opens no connection yet; raises `ConfigurationError`."""
    settings = loaded.values
    ticking = clock or SystemClock()
    database = open_database(settings.database_url, settings.database_pool)
    secret = settings.secret_key or instance_secret(loaded.instance_path)
    audit = audit_log(loaded, ticking)
    user_ids = user_ids_of(settings, secret)
    extensions = extensions_of(
        settings.toolkits,
        settings.guardrails,
        toolkits=toolkits,
        guardrails=guardrails,
        built_in=_built_in_toolkits(settings, TenantNotes(database, user_ids, ticking)),
        beside=lambda: mcp_toolkits(settings.mcp_servers),
    )
    agent = ServedAgent(settings, extensions, model)
    configurations = AgentConfigurations(database, ticking, agent.original, agent.build)
    keys = Keys(database, user_ids, audit=audit, clock=ticking)
    passwords = Passwords()
    directory = TenantDirectory(database, user_ids, ticking, encrypted=bool(settings.user_id_key))
    stopping = Stopping()
    lines = open_turn_lines(database)
    line_of = line_names(derived_secret(secret, "turn lines"))
    turns = SharedTurnQueue(lines, line_of)
    dropped = DropCount()
    running, room = RunningKeys(lines, line_of), TurnRoom(settings.concurrency)
    limits = _chat_limits(settings)
    chat = ChatService(
        database=database,
        user_ids=user_ids,
        configurations=configurations,
        queue=turns,
        running=running,
        room=room,
        breaker=agent.breaker,
        stopping=stopping,
        clock=ticking,
        limits=limits,
        dropped=dropped,
    )
    workflow_service = WorkflowService(
        database=database,
        user_ids=user_ids,
        configurations=configurations,
        queue=turns,
        running=running,
        room=room,
        breaker=agent.breaker,
        stopping=stopping,
        records=chat.records,
        clock=ticking,
        limits=limits,
        step_timeout=settings.turn_seconds,
        store=StoredWorkflows(
            database,
            runs_per_user=settings.workflow_runs_kept,
            max_state_bytes=settings.state_max_bytes,
            user_ids=user_ids,
            clock=ticking,
            limits=limits.tenant,
            dropped=dropped,
        ),
        workflows=workflows_of(settings.workflows, workflows),
    )
    return Services(
        loaded=loaded,
        database=database,
        clock=ticking,
        user_ids=user_ids,
        configurations=configurations,
        extensions=extensions,
        served_agent=agent,
        turns=turns,
        chat=chat,
        workflows=workflow_service,
        left_behind=LeftBehind(database, user_ids, workflow_service),
        audit=audit,
        keys=keys,
        tokens=tokens_of(settings, secret, keys, ticking),
        directory=directory,
        acts=TenantActs(
            database,
            user_ids,
            ticking,
            directory,
            memory_max_messages=settings.session_max_messages,
        ),
        sessions=SessionActs(database, user_ids),
        states=SessionStates(
            database,
            user_ids,
            ticking,
            max_bytes=settings.state_max_bytes,
            limits=_tenant_limits(settings),
            dropped=dropped,
        ),
        session_cleanup=SessionCleanup(database, _tenant_limits(settings), dropped),
        dropped=dropped,
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
        cursor_secret=derived_secret(secret, "cursors"),
    )


def _built_in_toolkits(settings: Settings, kept: TenantNotes) -> BuiltIn:
    return {
        "calculator": calculator,
        "clock": clock_toolkit,
        "http_get": lambda: http_get(settings.http_get_hosts),
        "notes": lambda: notes(kept),
    }


def _tenant_limits(settings: Settings) -> TenantLimits:
    return TenantLimits(settings.tenant_max_sessions, settings.tenant_max_messages)


def _chat_limits(settings: Settings) -> ChatLimits:
    return ChatLimits(
        message_max_chars=settings.message_max_chars,
        memory_max_messages=settings.session_max_messages,
        tenant=_tenant_limits(settings),
        waiting_turns=settings.tenant_queue,
        state_max_bytes=settings.state_max_bytes,
        # A turn that waits holds messages, which are not to become older than that.
        approval_seconds=min(
            settings.approval_timeout, settings.messages_max_age or settings.approval_timeout
        ),
        token_budget=parse_budget(settings.token_budget),
    )
