"""`switchboard db backup`: a whole copy of what is served, or a sentence; never an empty file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import MakeApp, services_of
from webapp.cli import switchboard
from webapp.storage.sqlite.database import SQLiteDatabase
from webapp.tenants import store


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "switchboard.db"
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", f"sqlite:///{path}")
    return path


def back_up(file: Path) -> Result:
    return CliRunner().invoke(switchboard, ["db", "backup", str(file)])


def test_the_copy_is_whole_and_its_owners_alone(
    settings: Path, tmp_path: Path, make_app: MakeApp
) -> None:
    database = services_of(make_app()).database
    number = database.write(lambda connection: store.ensure(connection, "alice", 1))
    copy = tmp_path / "copy.db"
    assert back_up(copy).exit_code == 0, "while the application has the database open"
    assert copy.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    restored = SQLiteDatabase(copy)
    restored.check()
    with restored.read() as connection:
        assert store.number_of(connection, "alice") == number
    restored.close()
    assert settings.exists()


def test_a_file_that_is_there_is_not_overwritten(
    settings: Path, tmp_path: Path, make_app: MakeApp
) -> None:
    make_app()
    copy = tmp_path / "copy.db"
    copy.write_text("mine", encoding="ascii")
    result = back_up(copy)
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert copy.read_text(encoding="ascii") == "mine"
    assert settings.exists()


def test_in_a_wrong_folder_it_fails_and_makes_no_file(settings: Path, tmp_path: Path) -> None:
    result = back_up(tmp_path / "copy.db")
    assert result.exit_code == 1
    assert "does not exist yet" in result.output
    assert list(tmp_path.iterdir()) == []
    assert not settings.exists()
