"""One connection to the server: sends statements and reads their rows, waiting cooperatively.

Statements go through libpq as psycopg has it, without psycopg's cursors: a turn is a handful of
statements, and a cursor costs more than the statement. Nothing here belongs to a session of the
server unless the server itself is at the other end, and not a pooler such as PgBouncer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from webapp.errors import InvalidInput
from webapp.storage.postgres.connecting import IDLE_SECONDS, connect
from webapp.storage.postgres.failures import stalled
from webapp.storage.postgres.translation import statement_of
from webapp.storage.waiting import Readiness

MOST_PREPARED = 256
LONGEST_PREPARED = 8000
USES_BEFORE_PREPARED = 2
CANCEL_SECONDS = 2.0

Ask = tuple[str, Mapping[str, Any]]
"""A statement and its parameters."""
_Values = tuple[list[bytes | None], list[int]]
_Key = tuple[bytes, tuple[int, ...] | None]

_INT8, _FLOAT8, _BYTEA, _TEXT, _INT8S, _TEXTS = 20, 701, 17, 25, 1016, 1009
# What every unit of work needs, and whose rows it sees: everyone's, unless it is narrowed. What is
# set for a transaction (`true`) is '' behind it, and with '' no tenant's row is seen.
_SETTINGS = (
    f"SELECT set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', {{0}}),"
    " set_config('switchboard.tenant', '*', {0})"
)
_NARROW = "SELECT set_config('switchboard.tenant', :tenant, true)"
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_HERE = _SETTINGS.format("true").encode()
_ALWAYS = _SETTINGS.format("false").encode()


class _Whole(psycopg.adapt.Loader):
    """Sums of whole numbers come as `numeric`."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


class Outcome:
    """The rows of a statement; see `Rows` in storage/database.py."""

    __slots__ = ("_next", "_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self._next = 0
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchall(self) -> list[Any]:
        rest = self._rows[self._next :] if self._next else self._rows
        self._next = len(self._rows)
        return rest


class _Asked:
    """A statement with its values in the form of the wire, and what looks at what it gives."""

    __slots__ = ("check", "key", "values")

    def __init__(self, sql: bytes, values: list[bytes | None], types: list[int] | None) -> None:
        self.key: _Key = (sql, None if types is None else tuple(types))
        self.values = values
        self.check: Callable[[Outcome], None] | None = None

    @classmethod
    def plain(cls, sql: bytes) -> _Asked:
        """One that is never prepared, such as those that begin and end transactions."""
        return cls(sql, [], None)


class Link:
    """A connection in use by one thread or greenlet at a time."""

    def __init__(self, conninfo: str) -> None:
        self._connection = connect(conninfo)
        self._connection.adapters.register_loader("numeric", _Whole)
        self._pg = self._connection.pgconn
        self._loader = Transformer(self._connection)
        self._socket = Readiness(self._pg.socket)
        self._uses: dict[_Key, int] = {}
        self._prepared: dict[_Key, bytes] = {}
        self._pending: list[_Asked] = []
        self._used = False
        self._transaction = False
        self._narrow: _Asked | None = None
        self._direct = False
        self._owed = False
        self.deadline: float | None = None
        self.born = time.monotonic()
        self.rested = 0.0
        try:
            self._direct = self._is_direct()
        except BaseException:
            self.close()
            raise

    # -- units of work --------------------------------------------------------------------------

    def begin(self, mode: bytes) -> None:
        """Begins a transaction with the next statement, and with no question of its own."""
        self._pending = [_Asked.plain(mode)]
        if not self._direct:
            self._pending.append(_Asked.plain(_HERE))
        self._transaction, self._used = True, False

    def narrow(self, tenant: int) -> None:
        """Shows the rest of the unit of work the rows of one tenant alone; it goes with the next
        statement, and without a transaction with each."""
        self._see(str(tenant))

    def widen(self) -> None:
        """Shows the rest of the unit of work everyone's rows again."""
        self._see("*")

    def _see(self, whose: str) -> None:
        narrowing = self._asked(_NARROW, {"tenant": whose})
        if self._transaction:
            self._pending.append(narrowing)
        else:
            self._narrow = narrowing

    def commit(self) -> None:
        """Returns when the server has stored everything."""
        if self._used:
            self._ask([_Asked.plain(b"COMMIT")])
        self._end()

    def leave(self) -> None:
        """Ends a transaction that has only read; the server's answer is read with the next one."""
        self._end()
        if self._pg.transaction_status == TransactionStatus.INTRANS:
            self._pg.send_query_params(b"COMMIT", None)
            self._flush()
            self._owed = True

    def take_back(self) -> None:
        """Ends the transaction without its writes."""
        self._end()
        if self._pg.transaction_status != TransactionStatus.IDLE:
            self._exchange([_Asked.plain(b"ROLLBACK")])

    def read_together(self, asks: Sequence[Ask]) -> list[Outcome]:
        """Reads of one moment, in one packet and in a transaction of their own."""
        asked = [self._asked(sql, parameters) for sql, parameters in asks]
        if len(asked) == 1:
            return self._ask(asked)
        begin, end = _Asked.plain(_READ), _Asked.plain(b"COMMIT")
        if self._direct:
            return self._ask([begin, *asked, end])[1:-1]
        self.begin(_READ)
        outcomes = self._ask([*asked, end])[:-1]
        self._end()
        return outcomes

    def execute(self, sql: str, parameters: Mapping[str, Any]) -> Outcome:
        """Runs one statement and reads all of its rows."""
        return self._ask([self._asked(sql, parameters)])[0]

    def execute_together(self, asks: Sequence[Ask]) -> list[Outcome]:
        """Runs several statements that do not wait for one another's rows, in one packet."""
        return self._ask([self._asked(sql, parameters) for sql, parameters in asks])

    def execute_many(self, sql: str, parameters: Iterable[Mapping[str, Any]]) -> Outcome:
        """Runs one statement for each set of parameters, in one go."""
        outcomes = self._ask([self._asked(sql, values) for values in parameters])
        return Outcome([], sum(outcome.rowcount for outcome in outcomes))

    def later(
        self, sql: str, parameters: Mapping[str, Any], check: Callable[[Outcome], None] | None
    ) -> None:
        """Runs the statement in the packet of the next one; `check` may raise for what it gave."""
        asked = self._asked(sql, parameters)
        asked.check = check
        self._pending.append(asked)
        self._used = True

    def run(self, sql: str) -> None:
        """Runs SQL of the schema, several statements if need be, in the transaction under way."""
        self._ask([])
        for result in self._all_of(sql):
            self._require(result)

    # -- the connection itself ------------------------------------------------------------------

    @property
    def server_version(self) -> int:
        return self._pg.server_version

    @property
    def is_usable(self) -> bool:
        """Whether it may be used again; one whose server has gone is noticed by its socket."""
        pg = self._pg
        if pg.status != ConnStatus.OK:
            return False
        try:
            pg.consume_input()
            if self._owed:
                if pg.is_busy():
                    return True
                self._settle()
            pg.consume_input()  # behind the server's last words is the end
        except psycopg.Error:
            return False
        return pg.status == ConnStatus.OK and pg.transaction_status == TransactionStatus.IDLE

    @property
    def in_transaction(self) -> bool:
        return self._pg.transaction_status == TransactionStatus.INTRANS

    @property
    def is_under_way(self) -> bool:
        """Whether the server may be at work for it, or its answer was not read."""
        idle = (TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR)
        return not self._owed and self._pg.transaction_status not in idle

    def cancel(self) -> None:
        """Asks the server to stop what it does for this connection, which is closed then."""
        connection = self._connection
        self._socket.close()

        def ask() -> None:
            with suppress(Exception):  # it is asked for the others' sake, and may be away
                connection.cancel_safe(timeout=CANCEL_SECONDS)
            connection.close()

        threading.Thread(target=ask, name="cancel", daemon=True).start()

    def close(self) -> None:
        self._socket.close()
        self._connection.close()

    def __del__(self) -> None:
        # psycopg complains of a connection that nobody has closed; SQLite's are closed as well.
        with suppress(Exception):  # whatever is gone by now, nobody is left to be told
            self.close()

    def abandon(self) -> None:
        """Forgets a connection that belongs to the process this one was forked from."""
        _abandoned.append(self._connection)

    def _is_direct(self) -> bool:
        """Whether the server is at the other end: a pooler gives a process number of its own."""
        found = self._ask([_Asked.plain(b"SELECT pg_backend_pid()")])[0]
        if found.fetchone()[0] != self._pg.backend_pid:
            return False
        self._ask([_Asked.plain(_ALWAYS)])
        return True

    # -- sending and reading --------------------------------------------------------------------

    def _ask(self, asked: list[_Asked]) -> list[Outcome]:
        """Runs what is pending and these; gives what these gave."""
        pending, self._pending, self._used = self._pending, [], True
        if not self._transaction:
            pending = self._around()
        every = [*pending, *asked]
        if not every:
            return []
        outcomes = [self._outcome(result) for result in self._exchange(every)]
        for one, outcome in zip(pending, outcomes, strict=False):
            if one.check is not None:
                one.check(outcome)
        return outcomes[len(pending) :]

    def _around(self) -> list[_Asked]:
        """What a statement needs that is a transaction of its own, as all of a packet is."""
        around = [] if self._direct else [_Asked.plain(_HERE)]
        return [*around, self._narrow] if self._narrow is not None else around

    def _end(self) -> None:
        self._pending, self._narrow, self._transaction = [], None, False

    def _asked(self, sql: str, parameters: Mapping[str, Any]) -> _Asked:
        statement = statement_of(sql)
        return _Asked(statement.sql, *_values(statement.names, parameters))

    def _send(self, asked: _Asked) -> bool:
        """Sends the statement; whether it is prepared before, which has a result of its own."""
        pg, key = self._pg, asked.key
        name = self._prepared.get(key)
        if name is not None:
            pg.send_query_prepared(name, asked.values)
        elif key[1] is None:
            pg.send_query_params(key[0], None)
        elif not self._is_to_be_prepared(key):
            pg.send_query_params(key[0], asked.values, key[1])
        else:
            name = self._prepared[key] = b"s%d" % len(self._prepared)
            pg.send_prepare(name, key[0], key[1])
            pg.send_query_prepared(name, asked.values)
            return True
        return False

    def _is_to_be_prepared(self, key: _Key) -> bool:
        """One that comes again and again; a pooler would give it to another server's process."""
        full = len(self._prepared) >= MOST_PREPARED or len(key[0]) > LONGEST_PREPARED
        if full or not self._direct:
            return False
        uses = self._uses.pop(key, 0) + 1
        if uses >= USES_BEFORE_PREPARED:
            return True
        if len(self._uses) >= 4 * MOST_PREPARED:
            self._uses.clear()
        self._uses[key] = uses
        return False

    def _exchange(self, asked: Sequence[_Asked]) -> list[Any]:
        """Sends all and gives the result of each; several are sent together, in a pipeline."""
        pg = self._pg
        self._settle()
        if len(asked) == 1 and self._is_one_step(asked[0].key):
            self._send(asked[0])
            self._flush()
            return [self._require(self._last_result())]
        pg.enter_pipeline_mode()
        prepared = [self._send(one) for one in asked]
        pg.pipeline_sync()
        self._flush()
        preparations, results = [], []
        for first in prepared:
            if first:
                preparations.append(self._last_result())
            results.append(self._last_result())
        self._next_result()  # the end of the pipeline
        pg.exit_pipeline_mode()
        for result in (*preparations, *results):
            self._require(result)
        return results

    def _is_one_step(self, key: _Key) -> bool:
        """Whether it need not be prepared now."""
        known = key[1] is None or key in self._prepared
        return known or self._uses.get(key, 0) + 1 < USES_BEFORE_PREPARED

    def _all_of(self, sql: str) -> list[Any]:
        self._pg.send_query(sql.encode())
        self._flush()
        results = []
        while (result := self._next_result()) is not None:
            results.append(result)
        return results

    def _settle(self) -> None:
        """Reads the answer that `leave` did not wait for."""
        if self._owed:
            self._owed = False
            self._require(self._last_result())

    def _flush(self) -> None:
        pg = self._pg
        while pg.flush():
            # The server may want to be read before it reads on.
            self._wait(write=True)
            pg.consume_input()

    def _last_result(self) -> Any:
        last = None
        while (result := self._next_result()) is not None:
            last = result
        return last

    def _next_result(self) -> Any:
        pg = self._pg
        while pg.is_busy():
            self._wait()
            pg.consume_input()
        return pg.get_result()

    def _wait(self, *, write: bool = False) -> None:
        if not self._socket.wait(write=write, deadline=self.deadline):
            raise stalled()

    def _outcome(self, result: Any) -> Outcome:
        if result.status != ExecStatus.TUPLES_OK:
            return Outcome([], result.command_tuples or 0)
        self._loader.set_pgresult(result)
        rows = self._loader.load_rows(0, result.ntuples, tuple)
        return Outcome(rows, result.command_tuples or 0)

    def _require(self, result: Any) -> Any:
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        raise psycopg.errors.error_from_result(result, encoding="utf-8")


_abandoned: list[psycopg.Connection] = []


def _values(names: tuple[str, ...], parameters: Mapping[str, Any]) -> _Values:
    values: list[bytes | None] = []
    types: list[int] = []
    for name in names:
        value = parameters[name]
        if isinstance(value, int):
            values.append(b"%d" % value)
            types.append(_INT8)
        elif isinstance(value, str):
            values.append(_text(value))
            types.append(_TEXT)
        elif value is None:
            values.append(None)
            types.append(0)
        elif isinstance(value, bytes):
            values.append(b"\\x" + value.hex().encode())
            types.append(_BYTEA)
        elif isinstance(value, float):
            values.append(repr(value).encode())
            types.append(_FLOAT8)
        else:
            values.append(_list(value))
            numbers = bool(value) and all(isinstance(each, int) for each in value)
            types.append(_INT8S if numbers else _TEXTS)
    return values, types


def _text(value: str) -> bytes:
    encoded = value.encode()
    if b"\0" in encoded:
        raise InvalidInput("A text holds a NUL, which cannot be stored.")
    return encoded


def _list(values: Sequence[int | str | None]) -> bytes:
    return b"{" + b",".join(map(_element, values)) + b"}"


def _element(value: int | str | None) -> bytes:
    if value is None:
        return b"NULL"
    if isinstance(value, str):
        return b'"' + _text(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"%d" % value
