"""`switchboard db copy` at the terminal: what it says, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import MakeApp, services_of
from tests.storage.copying.installation import rows_of_sqlite
from webapp.cli import switchboard
from webapp.storage import open_database, unfinished


def run(*arguments: str) -> Result:
    return CliRunner().invoke(switchboard, ["db", "copy", *arguments])


def test_it_names_every_table_with_its_count_and_checksum(
    tmp_path: Path, make_app: MakeApp
) -> None:
    app = make_app()
    app.test_client().post("/chat", json={"user_id": "alice", "message": "Hi"})
    services_of(app).close()
    source, target = (f"sqlite:///{tmp_path / name}" for name in ("switchboard.db", "b.db"))
    result = run("--from", source, "--to", target)
    assert result.exit_code == 0, result.output
    rows = rows_of_sqlite(tmp_path / "b.db")
    assert rows == rows_of_sqlite(tmp_path / "switchboard.db")
    told = dict(re.findall(r"^(\w+) +([\d,]+)  [0-9a-f]{64}$", result.stdout, re.MULTILINE))
    assert told == {name: f"{len(found):,}" for name, found in rows.items()}
    assert "counts and checksums" in result.stdout
    assert "Copying" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "mysql://h/d", "--to", "sqlite:///b.db"], "not one this version can use"),
        (["--from", "sqlite:///a.db"], "Missing option '--to'"),
        (
            ["--from", "sqlite:///none.db", "--to", "sqlite:///b.db"],
            "there is no installation in it",
        ),
    ],
)
def test_what_it_cannot_copy_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code != 0
    assert sentence in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_no_command_takes_a_part_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'part.db'}"
    database = open_database(url)
    database.upgrade()
    database.write(lambda connection: unfinished.put(connection, "sqlite:///whole.db"))
    database.close()
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", url)
    result = CliRunner().invoke(switchboard, ["tenants", "list"])
    assert result.exit_code == 1
    assert "unfinished copy of sqlite:///whole.db" in result.output
