"""kill -9 while two threads roll up and one records: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest

from tests.server.stored import require_whole
from tests.usage.rolling import NOW
from webapp.storage import Database
from webapp.tenant_data.consistency.comparison import compare
from webapp.usage.lifetime import lifetime
from webapp.usage.rollup.worker import roll_up

KILLS = 8


@pytest.mark.sqlite
def test_killed_anywhere_it_goes_on_and_every_sum_is_right(database: Database) -> None:
    path = database.path  # type: ignore[attr-defined]  # a SQLite file
    turns = 0
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.usage.rolling", database.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            for _ in range(10 + random.randrange(150)):
                turns += bool(program.stdout.readline())
            program.send_signal(signal.SIGKILL)
            turns += len(program.stdout.readlines())
        require_whole(path)
        assert compare(database, NOW).count == 0
        with database.read() as connection:
            stored = connection.execute("SELECT COUNT(*) FROM requests", {}).fetchone()[0]
            counted = lifetime(connection)
        # The last turn may have been stored before it could be said.
        assert turns <= stored <= turns + 1
        turns = stored
        assert counted.turns == {"": stored, "rate_limited": 2 * stored}
        assert (counted.input_tokens, counted.output_tokens) == (3 * stored, 2 * stored)
    assert roll_up(database)
    require_whole(path)
    with database.read() as connection:
        assert lifetime(connection) == counted
    assert compare(database, NOW).count == 0
