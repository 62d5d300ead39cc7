"""One connection to the server: sends statements and reads their rows, waiting cooperatively.

Statements go through libpq as psycopg has it, without psycopg's cursors: a turn is a handful of
statements, and a cursor costs more than the statement. Nothing here belongs to a session of the
server unless the server itself is at the other end, and not a pooler such as PgBouncer.
"""

from __future__ import annotations

import select
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
from webapp.storage.postgres.translation import Statement, statement_of

MOST_PREPARED = 256
LONGEST_PREPARED = 8000
USES_BEFORE_PREPARED = 2
CANCEL_SECONDS = 2.0

Send = Callable[[], None]
Values = tuple[list[bytes | None], list[int]]
_Key = tuple[bytes, tuple[int, ...]]

_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_BOTH = _READ | select.POLLOUT
_INT8, _FLOAT8, _BYTEA, _TEXT, _INT8S, _TEXTS = 20, 701, 17, 25, 1016, 1009
# What every unit of work needs, and whose rows it sees: everyone's, unless it is narrowed. What is
# set for a transaction (`true`) is '' behind it, and with '' no tenant's row is seen.
_SETTINGS = (
    f"SELECT set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', {{0}}),"
    " set_config('switchboard.tenant', '*', {0})"
)
_NARROW = "SELECT set_config('switchboard.tenant', :tenant, true)"


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


class Link:
    """A connection in use by one thread or greenlet at a time."""

    def __init__(self, conninfo: str) -> None:
        self._connection = connect(conninfo)
        self._connection.adapters.register_loader("numeric", _Whole)
        self._pg = self._connection.pgconn
        self._loader = Transformer(self._connection)
        self._poll = select.poll()
        self._poll.register(self._pg.socket, _READ)
        self._uses: dict[_Key, int] = {}
        self._prepared: dict[_Key, bytes] = {}
        self._opening: list[bytes] = []
        self._narrowed_to: int | None = None
        self._owed = False
        self.deadline: float | None = None
        self.born = time.monotonic()
        try:
            self._direct = self._is_direct()
        except BaseException:
            self.close()
            raise

    # -- units of work --------------------------------------------------------------------------

    def begin(self, mode: str) -> None:
        """Begins a transaction with the next statement, and with no question of its own."""
        self._opening = [mode.encode()]
        if not self._direct:
            self._opening.append(_SETTINGS.format("true").encode())

    def narrow(self, tenant: int) -> None:
        """Shows the rest of the transaction the rows of one tenant alone; it goes with the next
        statement."""
        self._narrowed_to = tenant

    def commit(self) -> None:
        """Returns when the server has stored everything."""
        self._narrowed_to = None
        if self._opening:
            self._opening = []
            return
        self._require(self._exchange([self._plain(b"COMMIT")])[-1])

    def leave(self) -> None:
        """Ends a transaction that has only read; the server's answer is read with the next one."""
        self._narrowed_to = None
        if self._opening:
            self._opening = []
        elif self._pg.transaction_status == TransactionStatus.INTRANS:
            self._pg.send_query_params(b"COMMIT", None)
            self._flush()
            self._owed = True

    def take_back(self) -> None:
        """Ends the transaction without its writes."""
        self._opening, self._narrowed_to = [], None
        if self._pg.transaction_status != TransactionStatus.IDLE:
            self._require(self._exchange([self._plain(b"ROLLBACK")])[-1])

    def execute(self, sql: str, parameters: Mapping[str, Any]) -> Outcome:
        """Runs one statement and reads all of its rows."""
        statement = statement_of(sql)
        return self._outcome(self._exchange([*self._opened(), *self._sends(statement, parameters)]))

    def execute_many(self, sql: str, parameters: Iterable[Mapping[str, Any]]) -> Outcome:
        """Runs one statement for each set of parameters, in one go."""
        statement = statement_of(sql)
        sends = self._opened()
        asked = 0
        for values in parameters:
            sends += self._sends(statement, values)
            asked += 1
        if not asked:
            return Outcome([], 0)
        results = self._exchange(sends)[-asked:]
        for result in results:
            self._require(result)
        return Outcome([], sum(result.command_tuples or 0 for result in results))

    def run(self, sql: str) -> None:
        """Runs SQL of the schema, several statements if need be, in the transaction under way."""
        for opening in self._opened():
            self._exchange([opening])
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

        def ask() -> None:
            with suppress(Exception):  # it is asked for the others' sake, and may be away
                connection.cancel_safe(timeout=CANCEL_SECONDS)
            connection.close()

        threading.Thread(target=ask, name="cancel", daemon=True).start()

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        # psycopg complains of a connection that nobody has closed; SQLite's are closed as well.
        with suppress(Exception):  # whatever is gone by now, nobody is left to be told
            self._connection.close()

    def abandon(self) -> None:
        """Forgets a connection that belongs to the process this one was forked from."""
        _abandoned.append(self._connection)

    def _is_direct(self) -> bool:
        """Whether the server is at the other end: a pooler gives a process number of its own."""
        found = self._outcome(self._exchange([self._plain(b"SELECT pg_backend_pid()")]))
        if found.fetchone()[0] != self._pg.backend_pid:
            return False
        self._exchange([self._plain(_SETTINGS.format("false").encode())])
        return True

    # -- sending and reading --------------------------------------------------------------------

    def _opened(self) -> list[Send]:
        sends = [self._plain(sql) for sql in self._opening]
        if self._narrowed_to is not None:
            sends += self._sends(statement_of(_NARROW), {"tenant": str(self._narrowed_to)})
        self._opening, self._narrowed_to = [], None
        return sends

    def _plain(self, sql: bytes) -> Send:
        return lambda: self._pg.send_query_params(sql, None)

    def _sends(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Send]:
        values, types = _values(statement.names, parameters)
        sql, pg = statement.sql, self._pg
        key = (sql, tuple(types))
        name = self._prepared.get(key)
        if name is not None:
            return [lambda: pg.send_query_prepared(name, values)]
        if not self._is_to_be_prepared(key):
            return [lambda: pg.send_query_params(sql, values, types)]
        new = self._prepared[key] = b"s%d" % len(self._prepared)
        return [
            lambda: pg.send_prepare(new, sql, types),
            lambda: pg.send_query_prepared(new, values),
        ]

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

    def _exchange(self, sends: Sequence[Send]) -> list[Any]:
        """Sends all and gives the result of each; several are sent together, in a pipeline."""
        pg = self._pg
        self._settle()
        if len(sends) == 1:
            sends[0]()
            self._flush()
            return [self._last_result()]
        pg.enter_pipeline_mode()
        for send in sends:
            send()
        pg.pipeline_sync()
        self._flush()
        results = [self._last_result() for _ in sends]
        self._next_result()  # the end of the pipeline
        pg.exit_pipeline_mode()
        for result in results[:-1]:
            self._require(result)
        return results

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
            self._poll.modify(pg.socket, _BOTH)
            try:
                if self._wait() & _READ:
                    pg.consume_input()
            finally:
                self._poll.modify(pg.socket, _READ)

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

    def _wait(self) -> int:
        """Until the socket can be read, or written where that was asked for."""
        while True:
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                raise stalled()
            ready = self._poll.poll(None if left is None else left * 1000)
            if ready:
                return int(ready[0][1])

    def _outcome(self, results: list[Any]) -> Outcome:
        result = self._require(results[-1])
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


def _values(names: tuple[str, ...], parameters: Mapping[str, Any]) -> Values:
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
            types.append(_TEXTS if any(isinstance(each, str) for each in value) else _INT8S)
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
