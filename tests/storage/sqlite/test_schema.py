"""A file that this version must not touch: of a newer one, of another application, of none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from webapp.errors import SchemaTooNew, StorageUnavailable
from webapp.storage.sqlite.database import SQLiteDatabase


def of_a_newer_version(path: Path) -> None:
    database = SQLiteDatabase(path)
    database.upgrade()
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('switchboard', 'm999_of_tomorrow', '2030-01-01')"
        )
        connection.commit()


def of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


def of_another_user_of_the_same_library(path: Path) -> None:
    from sqlite_utils import Database, Migrations

    steps = Migrations("recipes")
    steps()(lambda db: db["recipes"].create({"name": str}))
    database = Database(path)
    steps.apply(database)
    database.close()


def test_a_newer_schema_is_refused_with_a_sentence_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    of_a_newer_version(path)
    content = path.read_bytes()
    database = SQLiteDatabase(path)
    for act in (database.check, database.upgrade, database.require_ready):
        with pytest.raises(SchemaTooNew, match="m999_of_tomorrow"):
            act()
    database.close()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "make", [of_another_application, of_another_user_of_the_same_library], ids=lambda f: f.__name__
)
def test_another_applications_database_is_refused_and_left_alone(
    tmp_path: Path, make: object
) -> None:
    path = tmp_path / "test.db"
    assert callable(make)
    make(path)
    content = path.read_bytes()
    database = SQLiteDatabase(path)
    for act in (database.check, database.upgrade, database.require_ready):
        with pytest.raises(StorageUnavailable, match="is a database of another") as caught:
            act()
        assert caught.value.part == "foreign"
    with pytest.raises(StorageUnavailable, match="is a database of another"):
        database.back_up(tmp_path / "copy.db")
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "tenants" not in names
    assert path.read_bytes() == content, "its own way of logging among other things"
