"""What `dev` leaves in a database, and how it keeps away from one that serves real users."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.processes import free_port
from tests.server.running import Server, running
from tests.upstream import upstream
from webapp.storage import open_database
from webapp.storage.production import is_production, note_production

OWN = "/admin/login/link"


def test_dev_leaves_no_owner_behind_and_respects_production(tmp_path: Path) -> None:
    with upstream() as model:
        with running(tmp_path, model.base_url) as server:
            assert re.search(rf"{OWN}\?token=\S+", server.printed)
            assert server.chat("alice", "Hello").status == 200
            url = f"sqlite:///{server.database}"
        database = open_database(url)
        with database.read() as connection:
            assert not is_production(connection)
            left = connection.execute("SELECT name, dev_only FROM admins").fetchall()
        assert [tuple(row) for row in left] == [("dev", 1)]
        database.write(note_production)
        database.close()
        refused = Server(tmp_path, free_port(), model.base_url)
        refused.launch()
        assert refused.process is not None
        assert refused.process.wait(60) == 1
        sentence = refused.printed.splitlines()[-1]
        assert "has served real users" in sentence
        assert "--production-data" in sentence
        allowed = Server(tmp_path, free_port(), model.base_url)
        try:
            allowed.start("--production-data")
        finally:
            allowed.kill_group()
