"""What every command owes a terminal: help with examples, widths, encodings, pipes, questions."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.cli.terminal import SWITCHBOARD, Terminal
from webapp.cli import switchboard
from webapp.cli.text import WordWrap, columns_of, cut, visible
from webapp.memory import SQLiteMemory
from webapp.messages import Message
from webapp.storage import Connection, open_database
from webapp.storage.sqlite.database import SQLiteDatabase
from webapp.tenants import store

ESCAPE = "\u202egnp.exe"
IDS = ["alice", "a-long-id-" * 8, "日本語のユーザー", ESCAPE, "ad\u00e9le"]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    url = f"sqlite:///{tmp_path_factory.mktemp('terminal') / 'switchboard.db'}"
    database = open_database(url)
    database.upgrade()

    def work(connection: Connection) -> None:
        for number, user_id in enumerate(IDS):
            store.ensure(connection, user_id, 1_700_000_000_000 - number)
        for number in range(3000):
            store.ensure(connection, f"user-{number:04}", 1_600_000_000_000)

    database.write(work)
    database.close()
    return {
        "PATH": os.environ["PATH"],
        "SWITCHBOARD_DATABASE_URL": url,
        "SWITCHBOARD_SECRET_KEY": "Zk3vQ9xTf0aLrWm2-tests-YpNc7HdUb5EsGj8K",
    }


def run(*arguments: str, env: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SWITCHBOARD, *arguments],
        capture_output=True,
        text=True,
        encoding="latin-1" if more.get("PYTHONIOENCODING") == "latin-1" else "utf-8",
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={"LANG": "C.UTF-8", **env, **more},
    )


def commands(
    group: click.Group = switchboard, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_every_command_has_help_with_an_example_of_itself() -> None:
    for path, command in commands():
        context = click.Context(command, info_name=" ".join(("switchboard", *path)))
        text = command.get_help(context)
        assert "Examples:" in text, path
        assert f"switchboard {' '.join(path)}" in text.split("Examples:")[1], path
        assert command.get_short_help_str(), path


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_list_fits_the_terminal_and_has_heads(env: dict[str, str], columns: int) -> None:
    with Terminal("tenants", "list", "--limit", "9", env=env, columns=columns) as terminal:
        assert terminal.end() == 0
    head, *lines = terminal.text.splitlines()
    assert head.split()[:3] == ["USER", "ID", "MESSAGES"]
    assert len(lines) == 9
    assert max(map(columns_of, (head, *lines))) <= columns
    assert ("REQUESTS" in head) == (columns >= 60)
    assert "TOKENS" in head or columns < 200
    assert any(line.startswith("\\u202e") for line in lines)
    for command in ("keys", "admins", "audit"):
        with Terminal(command, "list", env=env, columns=columns) as terminal:
            assert terminal.end() == 0


def test_without_a_terminal_nothing_is_cut(env: dict[str, str]) -> None:
    done = run("tenants", "list", env=env)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()[1:4]] == IDS[:3]
    fitted = run("tenants", "list", env=env, COLUMNS="60").stdout
    assert max(map(columns_of, fitted.splitlines())) <= 60


@pytest.mark.parametrize("columns", [40, 80])
def test_a_conversation_is_wrapped_at_words_on_a_terminal_alone(
    env: dict[str, str], columns: int
) -> None:
    text = "Nice to meet you, Alice! How can I help you today?\n\n  And tomorrow, 日本語?"
    memory = SQLiteMemory(env["SWITCHBOARD_DATABASE_URL"])
    memory.clear(user_id="alice")
    memory.add(Message.user("Hello"), Message.assistant(text), user_id="alice")
    memory.close()
    with Terminal("tenants", "messages", "alice", env=env, columns=columns) as terminal:
        assert terminal.end() == 0
    lines = terminal.text.splitlines()
    assert max(map(columns_of, lines)) <= columns
    assert " ".join(terminal.text.split()).endswith(" ".join(text.split()))
    assert f"  {text.splitlines()[0]}\n" in run("tenants", "messages", "alice", env=env).stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_takes_every_id(env: dict[str, str], encoding: str) -> None:
    done = run("tenants", "list", env=env, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(run("tenants", "list", "--json", env=env, PYTHONIOENCODING=encoding).stdout)
    assert [row["user_id"] for row in rows[:5]] == IDS


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_news(env: dict[str, str], form: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [SWITCHBOARD, "tenants", "list", "--limit", "0", *form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_rights_are_taken_away_after_a_question_on_a_terminal(env: dict[str, str]) -> None:
    """Without a terminal a script that revokes goes on: no data is lost by it."""
    made = [
        json.loads(
            run("keys", "create", "k", "--role", "chat", "--users", "*", "--json", env=env).stdout
        )
        for _ in range(2)
    ]

    def states() -> dict[str, str]:
        listed = json.loads(run("keys", "list", "--json", env=env).stdout)
        return {key["id"]: key["state"] for key in listed}

    with Terminal("keys", "revoke", made[0]["id"], env=env) as terminal:
        terminal.expect("last used: never")
        terminal.enter("n\n")
        assert terminal.end() == 1
    assert states()[made[0]["id"]] == "active"
    assert run("keys", "revoke", made[0]["id"], env=env).returncode == 0
    with Terminal("keys", "revoke", made[1]["id"], "--yes", env=env) as terminal:
        assert terminal.end() == 0
    assert set(states().values()) == {"revoked"}


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("--version", 0),
        ("tenants list", 0),
        ("tenants clear-all", 2),
        ("admins create carol", 1),
        ("tenants import carol -", 1),
        ("chat alice --url http://127.0.0.1:9", 0),
    ],
)
def test_a_closed_stream_is_an_empty_one(
    env: dict[str, str], command: str, status: int, stream: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{SWITCHBOARD} {command} {stream}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (bool(status) and "2>&-" not in stream)


@pytest.mark.parametrize("command", [("--version",), ("tenants", "list", "--json")])
def test_output_that_has_no_room_is_one_sentence(
    env: dict[str, str], command: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [SWITCHBOARD, *command], stdout=full, stderr=subprocess.PIPE, text=True, env=env
        )
    assert done.returncode == 1
    assert done.stderr == "Error: The output could not be written (No space left on device).\n"


def test_a_password_leaves_the_lines_behind_it_to_others(env: dict[str, str]) -> None:
    script = f"{SWITCHBOARD} admins create dora > /dev/null; cat"
    done = subprocess.run(
        ["sh", "-c", script],
        input="correct horse battery\nnext\n",
        capture_output=True,
        text=True,
        env=env,
    )
    assert (done.stdout, done.stderr) == ("next\n", "")


def test_a_password_is_asked_for_twice_and_not_shown(env: dict[str, str]) -> None:
    with Terminal("admins", "create", "ada", env=env) as terminal:
        terminal.expect("Password: ")
        terminal.enter("correct horse battery\n")
        terminal.expect("Repeat for confirmation: ")
        terminal.enter("correct horse battery\n")
        terminal.expect("may now sign in")
        assert terminal.end() == 0
    assert "horse" not in terminal.text
    with Terminal("admins", "disable", "ada", env=env) as terminal:
        terminal.expect("Disable ada")
        terminal.enter("n\n")
        assert terminal.end() == 1


def test_a_password_that_is_no_text_is_refused_with_a_sentence(env: dict[str, str]) -> None:
    done = subprocess.run(
        [SWITCHBOARD, "admins", "create", "bob"],
        input=b"\xff\xfe correct horse\n",
        capture_output=True,
        env=env,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"not UTF-8" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("tenants", "show", "nobody"), 1),
        (("tenants", "show", "a/b"), 2),
        (("tenants", "show", ""), 2),
        (("tenants", "list", "--sort", "refused_count"), 2),
        (("cleanup", "--inactive", "9" * 40), 2),
        (("nosuch",), 2),
        (("--version",), 0),
        (("tenants", "--help"), 0),
    ],
)
def test_the_status_says_what_went_wrong(
    env: dict[str, str], arguments: tuple[str, ...], status: int
) -> None:
    done = run(*arguments, env=env)
    assert done.returncode == status
    assert bool(done.stderr) == bool(status)
    assert "Traceback" not in done.stderr


def test_tab_completes_commands(env: dict[str, str]) -> None:
    script = run(env=env, _SWITCHBOARD_COMPLETE="bash_source").stdout
    assert "_SWITCHBOARD_COMPLETE=bash_complete" in script
    asked = {"COMP_WORDS": "switchboard tenants b", "COMP_CWORD": "2"}
    done = run(env=env, _SWITCHBOARD_COMPLETE="bash_complete", **asked)
    assert done.stdout.splitlines() == ["plain,block", "plain,budget"]


def test_text_is_measured_cut_and_made_visible() -> None:
    assert [columns_of(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]
    assert [cut("日本語", 5), cut("abcdef", 4), cut("abc", 3)] == ["日本…", "abc…", "abc"]
    assert visible("\x1b]0;x\x07\u202e\u2028é") == "\\x1b]0;x\\x07\\u202e\\u2028é"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_words_are_wrapped_whatever_pieces_they_come_in(size: int) -> None:
    text = "one two  three\n\n    indented four five-and-a-half abcdefghijklmnop 日本語日本語 end"
    wrap = WordWrap(12)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    lines = ("".join(map(wrap.feed, pieces)) + wrap.flush()).split("\n")
    assert lines == [
        "one two",
        "three",
        "",
        "    indented",
        "four",
        "five-and-a-h",
        "alf",
        "abcdefghijkl",
        "mnop 日本語",
        "日本語 end",
    ]


def test_every_command_is_on_the_page_of_the_terminal() -> None:
    page = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text(encoding="utf-8")
    for path, _ in commands():
        assert path[-1] in page, path


def test_a_command_puts_no_names_of_log_events_between_its_sentences(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = logging.getLogger("switchboard.storage")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("switchboard"), "handlers", [])
    monkeypatch.setattr(SQLiteDatabase, "close", lambda _self: storage.warning("log_not_emptied"))
    url = f"sqlite:///{tmp_path / 'switchboard.db'}"
    monkeypatch.setenv("SWITCHBOARD_DATABASE_URL", url)
    result = CliRunner().invoke(switchboard, ["db", "upgrade"])
    assert result.exit_code == 0
    assert "log_not_emptied" not in result.output + "".join(capfd.readouterr())
