"""How long a write waits for another process's lock, also behind writes that waited in vain."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from webapp.errors import StorageUnavailable
from webapp.storage.sqlite.database import SQLiteDatabase


def test_nobody_waits_longer_than_the_patience_for_a_lock(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path / "a.db", lock_patience=0.5)
    database.upgrade()
    waits: list[float] = []

    def write() -> None:
        began = time.monotonic()
        try:
            database.write(lambda connection: connection.execute("SELECT 1").fetchone())
        except StorageUnavailable:
            waits.append(time.monotonic() - began)

    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = []
        for _ in range(4):
            threads.append(threading.Thread(target=write))
            threads[-1].start()
            time.sleep(0.05)  # so that each finds the one before it waiting
        for thread in threads:
            thread.join(10)
        other.execute("ROLLBACK")
    database.close()
    assert len(waits) == 4
    # The second batch begins to wait only when the first one gives up.
    assert max(waits) < 0.8
    assert waits[0] >= 0.5
