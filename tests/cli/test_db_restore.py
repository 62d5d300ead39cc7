"""`switchboard db restore`: the old database or the new one, each whole; or a sentence."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import sqlite_utils
from click.testing import CliRunner, Result

from benchmarks.processes import free_port
from tests.cli.terminal import Terminal
from tests.server.running import Server
from tests.server.stored import memory, require_whole
from tests.upstream import Upstream, counting, upstream
from webapp.cli import switchboard
from webapp.errors import ConfigurationError
from webapp.storage.restoring import require_file
from webapp.storage.sqlite.database import SQLiteDatabase
from webapp.storage.sqlite.migrations import migrations
from webapp.storage.sqlite.restoring import restore
from webapp.tenants import store


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the database is, or will be."""
    folder = tmp_path / "instance"
    folder.mkdir()
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", f"sqlite:///{folder / 'switchboard.db'}")
    return folder / "switchboard.db"


def make(path: Path, *users: str) -> Path:
    database = SQLiteDatabase(path)
    database.upgrade()
    for user in users:
        database.write(partial(store.ensure, stored_id=user, now_ms=1))
    database.close()
    return path


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a database with one tenant, `restored`."""
    database = SQLiteDatabase(make(tmp_path / "elsewhere.db", "restored"))
    database.back_up(tmp_path / "backup.db")
    database.close()
    return tmp_path / "backup.db"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(switchboard, ["db", "restore", *arguments])


def users(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT user_id FROM tenants ORDER BY id")]


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_it_takes_the_place_and_keeps_what_was_there(path: Path, backup: Path) -> None:
    make(path, "before")
    path.chmod(0o644)
    result = run(str(backup), "--yes")
    assert result.exit_code == 0, result.output
    assert users(path) == ["restored"]
    assert path.stat().st_mode & 0o777 == 0o600
    (kept,) = path.parent.glob("switchboard.db.before-*")
    assert f"What was there before is {kept}" in result.output
    assert users(kept) == ["before"]
    assert "It holds 1 tenants" in result.output
    again = run(str(kept), "--yes")
    assert again.exit_code == 0
    assert users(path) == ["before"]
    assert not list(path.parent.glob("*.restoring*"))
    require_whole(path)


def test_where_nothing_is_nobody_is_asked(path: Path, backup: Path) -> None:
    result = run(str(backup))
    assert result.exit_code == 0, result.output
    assert users(path) == ["restored"]
    assert "What was there before" not in result.output


def test_it_asks_before_it_replaces(path: Path, backup: Path) -> None:
    make(path, "before")
    result = run(str(backup))
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert users(path) == ["before"]
    for answer, now in (("n", "before"), ("y", "restored")):
        settings = {"SWITCHBOARD_DATABASE_URL": f"sqlite:///{path}"}
        with Terminal("db", "restore", str(backup), env=settings) as terminal:
            terminal.expect("in the place of the database")
            terminal.enter(f"{answer}\n")
            assert terminal.end() == (0 if answer == "y" else 1)
        assert users(path) == [now]


def older(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.apply(sqlite_utils.Database(connection), stop_before="m014_usage_rollup")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('switchboard', 'm999_future', '2031')"
        )


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")


def emptied(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(random.Random(1).randbytes(20_000))


def text(path: Path) -> None:
    path.write_bytes(b"no database at all " * 900)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def broken_reference(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO sessions (tenant_id, session_id, created_at,"
            " last_active_at) VALUES (99, 'x', 1, 1)"
        )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (newer, "newer version of Switchboard (m999_future)"),
        (foreign, "another application"),
        (emptied, "empty"),
        (overwritten, "damaged|not whole"),
        (text, "no SQLite database"),
        (cut_short, "cut short"),
        (lambda path: os.truncate(path, 50), "no SQLite database"),
        (lambda path: os.truncate(path, 0), "is empty"),
        (lambda path: path.unlink(), "There is no file"),
        (lambda path: (path.unlink(), path.mkdir()), "There is no file"),
        (lambda path: Path(f"{path}-wal").write_bytes(b"x"), "in use"),
        (broken_reference, "not whole"),
    ],
)
def test_what_is_no_whole_backup_changes_nothing(
    path: Path, backup: Path, spoil: object, words: str
) -> None:
    make(path, "before")
    assert callable(spoil)
    spoil(backup)
    content, there = path.read_bytes(), names(path)
    result = run(str(backup), "--yes")
    assert result.exit_code == 1
    assert any(word in result.output for word in words.split("|")), result.output
    assert "Traceback" not in result.output
    assert (path.read_bytes(), names(path)) == (content, there)


def test_an_older_one_is_brought_to_the_newest_schema(path: Path, backup: Path) -> None:
    make(path, "before")
    older(backup)
    result = run(str(backup), "--yes")
    assert result.exit_code == 0, result.output
    assert "done: m014_usage_rollup" in result.output
    database = SQLiteDatabase(path)
    database.check()
    database.close()


def test_the_database_itself_is_refused(path: Path) -> None:
    make(path, "before")
    assert "is the database itself" in run(str(path), "--yes").output


def test_a_database_on_a_server_is_its_own_programs_matter() -> None:
    with pytest.raises(ConfigurationError, match=r"pg_dump .*pg_restore") as refusal:
        require_file("postgresql://me:hunter2@127.0.0.1/x")
    assert "hunter2" not in refusal.value.message


def test_a_damaged_database_is_replaced_and_kept_with_its_log(path: Path, backup: Path) -> None:
    make(path, "before")
    path.write_bytes(b"rubbish" * 4000)
    for end in ("-wal", "-shm", "-journal"):
        Path(f"{path}{end}").write_bytes(b"old" * 100)
    result = run(str(backup), "--yes")
    assert result.exit_code == 0, result.output
    assert users(path) == ["restored"]
    kept = sorted(each.name.partition(".before-")[2][16:] for each in path.parent.glob("*.before*"))
    assert kept == ["", "-journal", "-wal"]


def killed_at(step: int, target: Path, source: Path) -> bool:
    """Restores in a process that is killed at its so many-th call of the system; False when it came
    to its end before."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event.startswith(("os.", "open", "fcntl", "sqlite3")) and event != "os.kill":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            restore(target, source)
        except BaseException:  # noqa: BLE001  # whatever it is, this process must not go on
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or not os.WEXITSTATUS(status), step
    return os.WIFSIGNALED(status)


def test_killed_at_any_moment_one_of_both_is_there_whole(path: Path, backup: Path) -> None:
    make(path, "before")
    with closing(sqlite3.connect(path, isolation_level=None)) as server:
        server.execute("INSERT INTO tenants (user_id, created_at, last_active_at) VALUES ('w',1,1)")
        shutil.copy(f"{path}-wal", f"{path}-kept")  # as a killed server leaves it
        shutil.copy(path, f"{path}-alone")
    Path(f"{path}-kept").rename(f"{path}-wal")
    Path(f"{path}-alone").rename(path)
    assert users(path) == ["before", "w"]
    step, seen = 0, set()
    while killed_at(step, path, backup):
        found = users(path)
        assert found in (["before", "w"], ["restored"]), step
        seen.add(tuple(found))
        require_whole(path)
        step += 1
    assert step > 15
    assert seen == {("before", "w"), ("restored",)}
    assert users(path) == ["restored"]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=900k none {folder} 2>/dev/null"):  # noqa: S605  # our own folder
        pytest.skip("this user may not mount")
    yield folder
    os.system(f"umount -l {folder}")  # noqa: S605  # as above


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def test_on_a_full_disk_it_says_so_and_changes_nothing(
    full: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", f"sqlite:///{full / 'switchboard.db'}")
    path = make(full / "switchboard.db", "before")
    (full / "filling").write_bytes(bytes(free_bytes(full) - 100_000))
    there = names(path)
    result = run(str(backup), "--yes")
    assert result.exit_code == 1
    assert "no room" in result.output
    assert (names(path), users(path)) == (there, ["before"])
    result = CliRunner().invoke(switchboard, ["db", "backup", str(full / "copy.db")])
    assert result.exit_code == 1
    assert f"The disk of {full} is full; no backup was made." in result.output
    assert not list(full.glob("copy*"))


@pytest.fixture(scope="module")
def model_server() -> Iterator[Upstream]:
    with upstream(counting) as server:
        yield server


def test_a_server_is_backed_up_while_it_serves_and_restored_when_it_is_stopped(
    tmp_path: Path, model_server: Upstream
) -> None:
    server = Server(tmp_path / "served", free_port(), model_server.base_url)
    copy = tmp_path / "copy.db"
    try:
        server.start()
        assert server.chat("alice", "first").status == 200
        server.run("db", "backup", str(copy))
        spoken = memory(server.database, "alice")
        assert server.chat("alice", "lost").status == 200
        refused = CliRunner(env=server.environment()).invoke(
            switchboard, ["db", "restore", str(copy), "--yes"]
        )
        assert refused.exit_code == 1
        assert "Stop every server" in refused.output
        assert server.chat("alice", "lost too").status == 200
        server.end(signal.SIGKILL)
        assert "What was there before" in server.run("db", "restore", str(copy), "--yes")
        assert memory(server.database, "alice") == spoken
        server.start()
        assert server.chat("alice", "second").json["reply"] == "I see 4 messages in history"
        (kept,) = server.folder.glob("*.before-*")
        assert len(memory(kept, "alice")) == 6, "what was in the log of the killed server too"
        assert server.end() == 0
        require_whole(server.database)
    finally:
        server.kill_group()
