"""A database with several writers, and two acts that meet in every way; SQLite alone has one.

It is looser than PostgreSQL: of a transaction only the rows that it has written are held until it
ends, and each statement is seen by everybody at once. What keeps its promise here does so there.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
Row = tuple[str, object]

_WRITES = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")
_KEYS = ("id", "number", "who", "name", "token_hash")
_PATIENCE = 10.0


class SeveralWriters:
    """Opens a SQLite file that was upgraded before; `meet` runs two acts through each other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._held: dict[Row, int] = {}
        self._waiting: set[int] = set()
        self._left = -1
        self._pause: Callable[[], None] | None = None

    @contextmanager
    def read(self) -> Iterator[Any]:
        with self._connected() as connection:
            yield connection

    def write(self, work: Callable[[Any], Result]) -> Result:
        with self._connected() as connection:
            try:
                return work(connection)
            finally:
                self._release()

    write_long = write

    def meet(
        self, first: Callable[[], object], second: Callable[[], object], before: int
    ) -> tuple[object, object] | None:
        """Runs `first`; before its statement of that number, `second` as far as it can.

        Gives what each returned or raised; None when `first` has no such statement.
        """
        results: list[object] = []
        other = threading.Thread(target=lambda: results.append(_outcome(second)))

        def run_other() -> None:
            other.start()
            with self._changed:
                while other.ident not in self._waiting and other.is_alive():
                    self._changed.wait(0.01)

        self._left, self._pause = before, run_other
        result = _outcome(first)
        self._pause = None
        if not other.ident:
            return None
        other.join(_PATIENCE)
        assert not other.is_alive(), "the second act waits for ever"
        return result, results[0]

    @contextmanager
    def _connected(self) -> Iterator[_Connection]:
        raw = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE)
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("PRAGMA foreign_keys = ON")
        try:
            yield _Connection(raw, self._before)
        finally:
            raw.close()

    def _before(self, sql: str, parameters: Mapping[str, Any]) -> None:
        if self._pause is not None and threading.current_thread() is threading.main_thread():
            self._left -= 1
            if self._left == 0:
                self._pause()
        written = _WRITES.match(sql)
        key = next((parameters[name] for name in _KEYS if name in parameters), None)
        if written is not None and key is not None:
            self._hold((written[1], key))

    def _hold(self, row: Row) -> None:
        me = threading.get_ident()
        with self._changed:
            if self._held.get(row, me) != me:
                self._waiting.add(me)
                self._changed.notify_all()
                free = self._changed.wait_for(lambda: row not in self._held, _PATIENCE)
                self._waiting.discard(me)
                assert free, f"two acts wait for each other at {row}"
            self._held[row] = me

    def _release(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._held = {row: owner for row, owner in self._held.items() if owner != me}
            self._changed.notify_all()


class _Connection:
    def __init__(self, raw: sqlite3.Connection, before: Callable[..., None]) -> None:
        self._raw = raw
        self._before = before

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None, /) -> Any:
        self._before(sql, parameters or {})
        return self._raw.execute(sql, parameters or {})

    def executemany(self, sql: str, parameters: Iterable[Mapping[str, Any]], /) -> Any:
        self._before(sql, {})
        return self._raw.executemany(sql, parameters)


def _outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # what an act raises is its outcome, which is looked at
        return error
