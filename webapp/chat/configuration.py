"""The agent's configuration as operators change it, with its history; the newest is in force."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from webapp.agent import Agent
from webapp.chat import store
from webapp.clock import Clock
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.storage import Connection, Database
from webapp.storage.alone import hold


@dataclass(frozen=True, slots=True)
class AgentConfiguration:
    """One state of the agent. Number 0 is what the settings say; nobody made it."""

    name: str
    model: str
    instructions: str
    context_max_messages: int
    max_loops: int
    number: int = 0
    created_at_ms: int = 0
    created_by: str = ""
    restored_from: int | None = None


def check(configuration: AgentConfiguration) -> None:
    """`InvalidInput` that names every field that cannot be."""
    fields: dict[str, str] = {}
    if not 1 <= len(configuration.name.strip()) <= 100:
        fields["name"] = "name must have 1 to 100 characters"
    if not 1 <= len(configuration.model.strip()) <= 200:
        fields["model"] = "model must have 1 to 200 characters"
    if len(configuration.instructions) > 32_000:
        fields["instructions"] = "instructions cannot be longer than 32,000 characters"
    if not 2 <= configuration.context_max_messages <= 10_000:
        fields["context_max_messages"] = "context_max_messages must be from 2 to 10,000"
    if not 1 <= configuration.max_loops <= 100:
        fields["max_loops"] = "max_loops must be from 1 to 100"
    if fields:
        raise InvalidInput("; ".join(fields.values()), fields=fields)


class AgentConfigurations:
    """The configurations, and the one agent made from the one in force.

    Each turn asks for the number of the newest row, so a change made by any process is in force
    from the next turn of every tenant.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        original: AgentConfiguration,
        build: Callable[[AgentConfiguration], Agent],
    ) -> None:
        self.original = original
        self._database = database
        self._clock = clock
        self._build = build
        self._lock = threading.Lock()
        self._built: tuple[int, Agent] | None = None

    def agent(self, connection: Connection) -> Agent:
        """The agent as it is in force at this moment."""
        number = store.newest_number(connection)
        built = self._built
        if built is not None and built[0] == number:
            return built[1]
        with self._lock:
            agent = self._build(self.current(connection))
            self._built = (number, agent)
        return agent

    def current(self, connection: Connection) -> AgentConfiguration:
        rows = store.newest(connection, 1)
        return _configuration(rows[0]) if rows else self.original

    def history(self, limit: int = 50) -> list[AgentConfiguration]:
        """The newest first; the settings' own state is always the last."""
        with self._database.read() as connection:
            rows = store.newest(connection, limit)
        return [*map(_configuration, rows), self.original]

    def find(self, number: int) -> AgentConfiguration:
        """One state of the history; `NotFound` when there is none with this number."""
        if number == 0:
            return self.original
        with self._database.read() as connection:
            row = store.find(connection, number)
        if row is None:
            raise NotFound("There is no such state of the agent.")
        return _configuration(row)

    def change(
        self,
        wanted: AgentConfiguration,
        *,
        by: str,
        expected: int | None = None,
        audit: Callable[[Connection, AgentConfiguration, AgentConfiguration], None] | None = None,
    ) -> AgentConfiguration:
        """Puts `wanted` in force from the next turn on.

        `expected` is the number that its author saw: when another one is in force by now,
        `Conflict` is raised and nothing changes. `audit` writes in the same transaction.
        """
        check(wanted)
        now = self._clock.now_ms()

        def work(connection: Connection) -> AgentConfiguration:
            hold(connection, "agent")
            before = self.current(connection)
            if expected is not None and before.number != expected:
                raise Conflict("Somebody else has changed the agent meanwhile.")
            number = store.add(
                connection,
                {
                    "now": now,
                    "by": by,
                    "name": wanted.name.strip(),
                    "model": wanted.model.strip(),
                    "instructions": wanted.instructions,
                    "context": wanted.context_max_messages,
                    "loops": wanted.max_loops,
                    "restored": wanted.restored_from,
                },
            )
            after = replace(wanted, number=number, created_at_ms=now, created_by=by)
            if audit is not None:
                audit(connection, before, after)
            return after

        return self._database.write(work)


def _configuration(row: store.Row) -> AgentConfiguration:
    number, created_at, created_by, name, model, instructions, context, loops, restored = row
    return AgentConfiguration(
        name=name,
        model=model,
        instructions=instructions,
        context_max_messages=context,
        max_loops=loops,
        number=number,
        created_at_ms=created_at,
        created_by=created_by,
        restored_from=restored,
    )
