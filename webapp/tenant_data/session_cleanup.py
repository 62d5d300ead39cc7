"""What the clean-up does with sessions and messages: drops those over a tenant's limits, and
messages that are too old; in slices, between which turns go on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from webapp.memory.ageing import store as ageing
from webapp.memory.ageing.parts import drop_old_part, old_until
from webapp.memory.ageing.store import OldSession
from webapp.memory.limiting import store as limiting
from webapp.memory.limiting.limits import NOTHING_DROPPED, DropCount, Dropped, TenantLimits
from webapp.memory.limiting.parts import Over, make_room
from webapp.memory.sessions import store as sessions
from webapp.memory.summaries import store as summaries
from webapp.storage import Connection, Database
from webapp.storage.narrowing import narrow
from webapp.storage.slices import ROWS, in_slices
from webapp.tenants import store as tenants
from webapp.tenants.notes import Audit, AuditNote

AT_ONCE = 500
SESSIONS_AT_ONCE = 50
_ALL_OF_A_SESSION = 1 << 30


class SessionCleanup:
    """Keeps every tenant to its limits, and every message to its age."""

    def __init__(self, database: Database, limits: TenantLimits, dropped: DropCount) -> None:
        self._database = database
        self._limits = limits
        self._dropped = dropped

    def drop_excess(self, *, dry_run: bool = False, audit: Audit | None = None) -> Dropped:
        """Drops the least recently active sessions of tenants over their limits, or with `dry_run`
        only counts them."""
        total = NOTHING_DROPPED
        for tenant in self._tenants_over():
            if dry_run:
                with self._database.read() as connection:
                    narrow(connection, tenant)
                    total += self._excess(connection, tenant)
                continue
            total += self._drop_excess(tenant, audit)
        if total.sessions and not dry_run:
            self._database.empty_log()
        return total

    def drop_old(
        self, before_ms: int, *, dry_run: bool = False, audit: Audit | None = None
    ) -> Dropped:
        """Drops the turns from before then; in how many sessions, and how many messages."""
        total = NOTHING_DROPPED
        for page in self._old_sessions(before_ms):
            if dry_run:
                total += self._old_messages(page, before_ms)
            else:
                total += self._drop_old(page, before_ms, audit)
        if not dry_run:
            self._drop_old_summaries(before_ms)
            if total.messages:
                self._database.empty_log()
        return total

    def _drop_old_summaries(self, before_ms: int) -> None:
        """Of sessions whose old messages went by their cap, and which nobody has used since."""
        drop = partial(summaries.drop_made_before, before_ms=before_ms, limit=AT_ONCE)
        while self._database.write_long(drop) == AT_ONCE:
            pass

    def _tenants_over(self) -> Iterator[int]:
        after, limits = 0, self._limits
        while limits:
            found = self._database.read_long(
                partial(limiting.tenants_over, limits=limits, after=after, limit=AT_ONCE)
            )
            yield from (tenant for tenant, _, _ in found)
            if len(found) < AT_ONCE:
                return
            after = found[-1][0]

    def _excess(self, connection: Connection, tenant: int) -> Dropped:
        row = tenants.find_number(connection, tenant)
        if row is None:
            return NOTHING_DROPPED
        count = sessions.count(connection, tenant)
        over = Over.of(self._limits, count, row.message_count)
        oldest = limiting.oldest(connection, tenant, None, count)
        going = list(over.chosen(oldest[:-1]))
        return Dropped(len(going), sum(session.messages for session in going))

    def _drop_excess(self, tenant: int, audit: Audit | None) -> Dropped:
        def step(connection: Connection) -> Dropped:
            return self._drop_part(connection, tenant, audit)

        total = NOTHING_DROPPED
        for part in in_slices(self._database, step, lambda part: part.sessions > 0):
            self._dropped.add(part.sessions)
            total += part
        return total

    def _drop_part(self, connection: Connection, tenant: int, audit: Audit | None) -> Dropped:
        narrow(connection, tenant)
        tenants.hold(connection, tenant)
        row = tenants.find_number(connection, tenant)
        if row is None:
            return NOTHING_DROPPED
        gone = make_room(
            connection,
            tenant,
            self._limits,
            row.message_count,
            session_count=sessions.count(connection, tenant),
            keep=sessions.newest(connection, tenant),
        )
        _note(connection, "drop_sessions", tenant, gone, audit)
        return gone

    def _old_sessions(self, before_ms: int) -> Iterator[list[OldSession]]:
        after = OldSession(0, 0)
        while True:
            found = self._database.read_long(
                partial(ageing.with_old_messages, before_ms=before_ms, after=after, limit=AT_ONCE)
            )
            yield found
            if len(found) < AT_ONCE:
                return
            after = found[-1]

    def _old_messages(self, page: list[OldSession], before_ms: int) -> Dropped:
        total = NOTHING_DROPPED
        for session in page:
            with self._database.read() as connection:
                narrow(connection, session.tenant)
                end, _ = old_until(connection, session, before_ms, _ALL_OF_A_SESSION)
                gone = ageing.count_before(connection, session, end, before_ms)
                total += Dropped(int(gone > 0), gone)
        return total

    def _drop_old(self, page: list[OldSession], before_ms: int, audit: Audit | None) -> Dropped:
        """Several sessions in one transaction, in the order of their tenants' numbers."""
        begin, begun, total = 0, False, NOTHING_DROPPED

        def step(connection: Connection) -> tuple[int, bool, Dropped]:
            place, resumed, gone = begin, begun, NOTHING_DROPPED
            while place < len(page) and gone.messages < ROWS and place - begin < SESSIONS_AT_ONCE:
                session = page[place]
                narrow(connection, session.tenant)
                messages, finished = drop_old_part(connection, session, before_ms, ROWS)
                gone += Dropped(int(messages > 0 and not resumed), messages)
                resumed = not finished
                place += int(finished)
            _note(connection, "drop_old_messages", None, gone, audit)
            return place, resumed, gone

        for part in in_slices(self._database, step, lambda part: part[0] < len(page)):
            begin, begun = part[0], part[1]
            total += part[2]
        return total


def _note(
    connection: Connection, action: str, tenant: int | None, gone: Dropped, audit: Audit | None
) -> None:
    if audit is not None and gone.sessions:
        figures = {"sessions": gone.sessions, "messages": gone.messages}
        audit(connection, AuditNote(action, tenant, figures))
