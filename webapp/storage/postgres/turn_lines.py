"""The lines of turns in PostgreSQL, for all processes of all hosts that use the database.

A line is a row with its tickets in order; its lock gives the order of arrival. Only the server's
clock says whose lease is over. The tables are not logged: no line outlives a crash of the server,
and `tenants.turn` keeps a turn from being stored that has lost its place.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any

from webapp.errors import StorageUnavailable
from webapp.storage.postgres.database import PostgresDatabase
from webapp.storage.postgres.link import Outcome
from webapp.turns.lines import LEASE_SECONDS, Ticket
from webapp.turns.standing import place_lost

SWEEP_EVERY = 12
SWEEP_AT_MOST = 1000
MOST_DOUBTS = 10_000


class PostgresTurnLines:
    """See `TurnLines`. A process is known by a random number: one that lost its lease takes
    another."""

    def __init__(self, database: PostgresDatabase, *, lease: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease = lease
        self._mutex = threading.RLock()
        self._worker = 0
        self._owed: list[Callable[[], object]] = []
        # What this process knows that it has: of a statement whose answer was lost nobody knows.
        self._tickets: set[tuple[str, str]] = set()
        self._keys: set[tuple[str, str]] = set()
        self._doubts: dict[tuple[str, ...], Callable[[], object]] = {}
        self._renewals = 0

    @property
    def worker(self) -> int:
        """See `TurnLines.worker`."""
        return self._worker

    def join(self, line: str, most: int | None) -> Ticket | None:
        """See `TurnLines.join`."""
        ticket = self._join(line, most)
        if ticket is None and self._drop_dead(line):
            ticket = self._join(line, most)
        return ticket

    def head(self, line: str) -> Ticket | None:
        """See `TurnLines.head`."""
        while True:
            row = self._one(_HEAD, line=line)
            if row is None or row[0] is None:
                return None
            if row[1]:
                return _ticket(row[0])
            self._drop_dead(line)

    def heads(self, lines: Collection[str], *, living: bool) -> dict[str, Ticket]:
        """See `TurnLines.heads`."""
        rows = self._run(_HEADS, lines=list(lines))
        found = {line: _ticket(entry) for line, entry, _ in rows}
        if living:
            for line in [line for line, _, lives in rows if not lives]:
                head = self.head(line)
                if head is None:
                    del found[line]
                else:
                    found[line] = head
        return found

    def leave(self, line: str, ticket: Ticket) -> None:
        """See `TurnLines.leave`."""
        self._tickets.discard((line, _entry(ticket)))
        self._give_back(_LEAVE, line=line, entry=_entry(ticket))

    def leave_within(self, transaction: Any, line: str, ticket: Ticket) -> bool:
        """See `TurnLines.leave_within`."""
        self._tickets.discard((line, _entry(ticket)))
        transaction.later(_LEAVE_FIRST, {"line": line, "entry": _entry(ticket)}, _require_left)
        return True

    def hold_key(self, line: str, key: str, body: str) -> tuple[int, str]:
        """See `TurnLines.hold_key`."""
        while True:
            worker = self._enrolled()
            try:
                held = self._one(_HOLD, line=line, key=key, body=body, worker=worker)
            except BaseException:
                self._doubt(worker, (line, key), partial(self._free_unknown, line, key, worker))
                raise
            if held:
                self._keys.add((line, key))
                return worker, body
            row = self._one(_HELD, line=line, key=key)
            if row is not None and row[2]:
                return 0, str(row[1])
            if row is not None:
                self._drop([row[0]])
            if not self._one(_IS_ENROLLED, worker=worker):
                self._forget_worker(worker)

    def free_key(self, line: str, key: str, worker: int) -> None:
        """See `TurnLines.free_key`."""
        self._keys.discard((line, key))
        self._give_back(_FREE, line=line, key=key, worker=worker)

    def renew(self) -> None:
        """See `TurnLines.renew`."""
        worker = self._worker
        if worker and not self._one(_RENEW, worker=worker, lease=self._lease):
            self._forget_worker(worker)
        while self._owed:
            self._owed[0]()
            self._owed.pop(0)
        for what, act in list(self._doubts.items()):
            act()
            self._doubts.pop(what, None)
        self._renewals += 1
        if self._renewals % SWEEP_EVERY == 0:
            self._run(_SWEEP, most=SWEEP_AT_MOST)
            self._drop([row[0] for row in self._run(_EXPIRED, most=SWEEP_AT_MOST)])

    def close(self) -> None:
        """See `TurnLines.close`."""
        worker, self._worker = self._worker, 0
        if worker:
            with suppress(StorageUnavailable):
                self._run(_DROP_KEYS, workers=[worker])
                self._run(_DROP_WORKERS, workers=[worker])

    # -- lines and processes --------------------------------------------------------------------

    def _join(self, line: str, most: int | None) -> Ticket | None:
        limit = 2**62 if most is None else most
        while True:
            worker = self._enrolled()
            try:
                row = self._one(_JOIN, line=line, most=limit, worker=worker, name=str(worker))
            except BaseException:
                self._doubt(worker, (line,), partial(self._leave_unknown, line, worker))
                raise
            if row is not None:
                ticket = Ticket(row[0], worker)
                self._tickets.add((line, _entry(ticket)))
                return ticket
            if limit <= 0 or self._one(_IS_ENROLLED, worker=worker):
                return None
            self._forget_worker(worker)

    def _doubt(self, worker: int, what: tuple[str, ...], act: Callable[[], object]) -> None:
        """Sees to it when the database answers again. Too many are left to the lease, as are
        those of a process that has died."""
        self._doubts[what] = act
        if len(self._doubts) > MOST_DOUBTS:
            self._doubts.clear()
            self._forget_worker(worker)

    def _leave_unknown(self, line: str, worker: int) -> None:
        """The answer to a join was lost, and perhaps a ticket is in the line that nobody gives
        back: each turn of that tenant would wait behind it for as long as this process lives.

        A ticket that is just being taken may go as well; its turn then learns that it lost its
        place.
        """
        known = [entry for in_line, entry in self._tickets if in_line == line]
        self._run(_LEAVE_UNKNOWN, line=line, name=str(worker), known=[*known, ""])

    def _free_unknown(self, line: str, key: str, worker: int) -> None:
        """The same for a key, which another turn of this process may hold."""
        if (line, key) not in self._keys:
            self._run(_FREE, line=line, key=key, worker=worker)

    def _enrolled(self) -> int:
        """The number of this process, which takes one when it has none."""
        if not self._worker:
            with self._mutex:
                if not self._worker:
                    worker = secrets.randbits(62) + 1
                    self._run(_ENROL, worker=worker, lease=self._lease)
                    self._worker = worker
        return self._worker

    def _forget_worker(self, worker: int) -> None:
        """This process stood still for too long, or the server has lost the lines."""
        with self._mutex:
            if self._worker == worker:
                self._worker = 0

    def _drop_dead(self, line: str) -> bool:
        """Whether some of the line had no process any more; they are out of it."""
        row = self._one(_ENTRIES, line=line)
        if row is None or not row[0]:
            return False
        workers = {_ticket(entry).worker for entry in row[0]}
        dead = self._drop(list(workers))
        if not dead:
            return False
        for entry in row[0]:
            if _ticket(entry).worker in dead:
                self._run(_LEAVE, line=line, entry=entry)
        return True

    def _drop(self, workers: list[int]) -> set[int]:
        """Those of them that are dead, with their keys dropped; their tickets go line by line.

        A process whose row is gone has lost its place for good, so what it left can be removed
        by several at once.
        """
        if not workers:
            return set()
        self._run(_DROP_EXPIRED, workers=workers)
        living = {row[0] for row in self._run(_LIVING, workers=workers)}
        dead = set(workers) - living
        if dead:
            self._run(_DROP_KEYS, workers=list(dead))
        return dead

    def _give_back(self, sql: str, **values: Any) -> None:
        try:
            self._run(sql, **values)
        except StorageUnavailable:
            self._owed.append(partial(self._run, sql, **values))

    def _one(self, sql: str, **values: Any) -> Any:
        return self._database.once(sql, values).fetchone()

    def _run(self, sql: str, **values: Any) -> list[Any]:
        return self._database.once(sql, values).fetchall()


def _require_left(outcome: Outcome) -> None:
    if not outcome.rowcount:
        raise place_lost()


def _entry(ticket: Ticket) -> str:
    return f"{ticket.number}:{ticket.worker}"


def _ticket(entry: str) -> Ticket:
    number, _, worker = entry.partition(":")
    return Ticket(int(number), int(worker))


_ENROL = """
    INSERT INTO turn_workers (id, expires)
    VALUES (:worker, clock_timestamp() + make_interval(secs => :lease))
"""
_IS_ENROLLED = "SELECT 1 FROM turn_workers WHERE id = :worker"
_RENEW = """
    UPDATE turn_workers SET expires = clock_timestamp() + make_interval(secs => :lease)
    WHERE id = :worker RETURNING id
"""
_NEXT = "CASE WHEN cardinality(turn_lines.entries) = 0 THEN 1 ELSE turn_lines.last + 1 END"
_JOIN = f"""
    INSERT INTO turn_lines (line, last, entries)
    SELECT :line, 1, ARRAY['1:' || :name] WHERE :most > 0
        AND EXISTS (SELECT 1 FROM turn_workers WHERE id = :worker)
    ON CONFLICT (line) DO UPDATE SET last = {_NEXT},
        entries = turn_lines.entries || (({_NEXT})::text || ':' || :name)
    WHERE cardinality(turn_lines.entries) < :most
    RETURNING last
"""  # noqa: S608  # nosec B608  # text of this module
_LIVES = """EXISTS (
    SELECT 1 FROM turn_workers
    WHERE id = split_part(entries[1], ':', 2)::bigint AND expires > clock_timestamp()
)"""
_HEAD = f"SELECT entries[1], {_LIVES} FROM turn_lines WHERE line = :line"  # noqa: S608  # nosec B608  # text of this module
_HEADS = f"""
    SELECT line, entries[1], {_LIVES} FROM turn_lines
    WHERE line = ANY(:lines) AND cardinality(entries) > 0
"""  # noqa: S608  # nosec B608  # text of this module
_ENTRIES = "SELECT entries FROM turn_lines WHERE line = :line"
_LEAVE = """
    UPDATE turn_lines SET entries = array_remove(entries, :entry)
    WHERE line = :line AND :entry = ANY(entries) RETURNING line
"""
_LEAVE_UNKNOWN = """
    UPDATE turn_lines SET entries = ARRAY(
        SELECT entry FROM unnest(entries) WITH ORDINALITY AS each (entry, place)
        WHERE split_part(entry, ':', 2) <> :name OR entry = ANY(:known) ORDER BY place
    )
    WHERE line = :line AND cardinality(entries) > 0 RETURNING line
"""
_LEAVE_FIRST = """
    UPDATE turn_lines SET entries = entries[2:] WHERE line = :line AND entries[1] = :entry
"""
_SWEEP = """
    DELETE FROM turn_lines WHERE cardinality(entries) = 0 AND line IN
        (SELECT line FROM turn_lines WHERE cardinality(entries) = 0 LIMIT :most)
"""
_HOLD = """
    INSERT INTO turn_keys (line, key, worker, body)
    SELECT :line, :key, :worker, :body
    WHERE EXISTS (SELECT 1 FROM turn_workers WHERE id = :worker)
    ON CONFLICT (line, key) DO NOTHING RETURNING key
"""
_HELD = """
    SELECT worker, body, EXISTS (
        SELECT 1 FROM turn_workers WHERE id = worker AND expires > clock_timestamp()
    ) FROM turn_keys WHERE line = :line AND key = :key
"""
_FREE = "DELETE FROM turn_keys WHERE line = :line AND key = :key AND worker = :worker"
_EXPIRED = "SELECT id FROM turn_workers WHERE expires <= clock_timestamp() LIMIT :most"
_DROP_EXPIRED = """
    DELETE FROM turn_workers WHERE id = ANY(:workers) AND expires <= clock_timestamp()
"""
_LIVING = "SELECT id FROM turn_workers WHERE id = ANY(:workers)"
_DROP_WORKERS = "DELETE FROM turn_workers WHERE id = ANY(:workers)"
_DROP_KEYS = "DELETE FROM turn_keys WHERE worker = ANY(:workers)"
