"""`switchboard tenants` and `cleanup`, run as a person would run them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.terminal import Terminal
from webapp.cli import switchboard
from webapp.errors import SwitchboardError
from webapp.messages import Message
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.storing import store_messages
from webapp.tenants import store

NOW = 1_700_000_000_000


@dataclass
class Outcome:
    """What a command wrote, and how it ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'switchboard.db'}"


@pytest.fixture
def run(url: str) -> Run:
    def command(*arguments: str, typed: str = "", hide: str = "") -> Outcome:
        environment = {
            "SWITCHBOARD_DATABASE_URL": url,
            "SWITCHBOARD_SECRET_KEY": "Zk3vQ9xTf0aLrWm2-tests-YpNc7HdUb5EsGj8K",
            "SWITCHBOARD_HIDE_CONVERSATIONS": hide,
            "OPENAI_API_KEY": "none",
        }
        result = CliRunner().invoke(switchboard, arguments, input=typed, env=environment)
        error = result.stderr
        if isinstance(result.exception, SwitchboardError):
            error += str(result.exception)
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, error)

    return command


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Alice and bob have two messages each; alice was last heard of in 2023."""
    opened = open_database(url)
    opened.upgrade()

    def work(connection: Connection) -> None:
        for user_id, at in (("alice", NOW), ("bob", 2 * NOW)):
            number = store.ensure(connection, user_id, at)
            said = [Message.user(f"I am {user_id}"), Message.assistant("Hello")]
            store_messages(connection, number, "default", said, 0, at)

    opened.write(work)
    yield opened
    opened.close()


def actions(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        rows = connection.execute("SELECT action, actor FROM audit ORDER BY id", {}).fetchall()
    return [(row[0], row[1]) for row in rows]


def listed(run: Run, *options: str) -> list[str]:
    return [row["user_id"] for row in json.loads(run("tenants", "list", "--json", *options).out)]


def test_the_list_is_for_people_and_for_programs(run: Run, database: Database) -> None:
    lines = run("tenants", "list").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["USER ID", "bob", "alice"]
    assert {line.count("\t") for line in lines} == {8}
    assert listed(run) == ["bob", "alice"]
    assert listed(run, "--sort", "user_id", "--limit", "1") == ["alice"]
    assert listed(run, "--search", "LIC") == ["alice"]
    assert listed(run, "--search", "nobody") == []
    assert "no such tenants" in run("tenants", "list", "--search", "nobody").err


def test_a_long_list_is_listed_whole(run: Run, database: Database) -> None:
    database.write(lambda c: [store.ensure(c, f"user-{n:03}", NOW) for n in range(250)])
    assert len(listed(run, "--limit", "0")) == 252
    assert len(listed(run)) == 50


def test_one_tenant_is_shown(run: Run, database: Database) -> None:
    assert json.loads(run("tenants", "show", "alice", "--json").out)["message_count"] == 2
    shown = run("tenants", "show", "alice").out
    assert "message count          2\n" in shown
    assert "blocked                no\n" in shown


@pytest.mark.parametrize("command", ["show", "clear", "forget", "export", "block", "unblock"])
def test_an_unknown_tenant_is_a_sentence_and_a_status(
    run: Run, database: Database, command: str
) -> None:
    outcome = run("tenants", command, "mallory")
    assert outcome.status == 1
    assert "There is no such tenant." in outcome.err
    assert actions(database) == []


@pytest.mark.parametrize("typed", ["", "y\n", "clear all tenants\n"])
def test_a_pipe_is_never_read_as_an_answer(run: Run, database: Database, typed: str) -> None:
    for arguments, told in (
        (("tenants", "clear", "alice"), "2 messages"),
        (("tenants", "forget", "alice"), "2 messages"),
        (("tenants", "clear-all"), "4 messages of 2 tenants"),
        (("cleanup", "--inactive", "24h"), "1 tenants with 2 messages"),
    ):
        refused = run(*arguments, typed=typed)
        assert (refused.status, refused.out) == (2, "")
        assert told in refused.err
        assert "--yes" in refused.err
    assert json.loads(run("tenants", "show", "alice", "--json").out)["message_count"] == 2
    assert actions(database) == []


@pytest.mark.parametrize(
    ("arguments", "question", "answer", "done"),
    [
        (("tenants", "clear", "alice"), "Clear 2 messages of alice?", "y", "2 messages cleared"),
        (("tenants", "forget", "alice"), "Forget alice with 2 messages", "y", "is forgotten"),
        (("cleanup", "--inactive", "24h"), "Forget 1 tenants with 2 messages", "y", "forgotten."),
        (
            ("tenants", "clear-all"),
            "clears 4 messages of 2 tenants",
            "clear all tenants",
            "4 messages of 2 tenants cleared",
        ),
    ],
)
def test_what_destroys_asks_on_a_terminal(
    url: str,
    database: Database,
    arguments: tuple[str, ...],
    question: str,
    answer: str,
    done: str,
) -> None:
    for typed in ("n\n", "\x03"):
        with Terminal(*arguments, env={"SWITCHBOARD_DATABASE_URL": url}) as terminal:
            terminal.expect(question)
            assert terminal.end(typing=typed) == 1
            assert "Aborted" in terminal.text
    assert actions(database) == []
    with Terminal(*arguments, env={"SWITCHBOARD_DATABASE_URL": url}) as terminal:
        terminal.expect(question)
        terminal.enter(f"{answer}\n")
        terminal.expect(done)
        assert terminal.end() == 0
    assert len(actions(database)) == 1


def test_clear_forget_and_clear_all_say_what_went(run: Run, database: Database) -> None:
    assert run("tenants", "clear", "alice", "--yes").out == "2 messages cleared.\n"
    assert run("tenants", "clear", "alice", "--yes").out == "0 messages cleared.\n"
    assert run("tenants", "clear-all", "--yes").out == "2 messages of 1 tenants cleared.\n"
    assert "bob is forgotten" in run("tenants", "forget", "bob", "--yes").out
    assert listed(run) == ["alice"]
    assert actions(database) == [
        ("clear_tenant", "cli"),
        ("clear_tenant", "cli"),
        ("clear_all", "cli"),
        ("forget_tenant", "cli"),
    ]


def test_a_tenant_is_blocked_and_unblocked(run: Run, database: Database) -> None:
    run("tenants", "block", "alice")
    assert listed(run, "--blocked") == ["alice"]
    run("tenants", "unblock", "alice")
    assert listed(run, "--blocked") == []
    assert actions(database) == [("block_tenant", "cli"), ("unblock_tenant", "cli")]


def test_a_tenant_has_limits_of_its_own_and_goes_back_to_the_default(
    run: Run, database: Database
) -> None:
    def own() -> tuple[str | None, str | None]:
        shown = json.loads(run("tenants", "show", "alice", "--json").out)
        return shown["rate_limit"], shown["token_budget"]

    assert run("tenants", "limit", "alice", "5/minute").status == 0
    assert run("tenants", "budget", "alice", "100/day").status == 0
    assert own() == ("5/minute", "100/day")
    assert "must look like" in run("tenants", "limit", "alice", "lots").err
    assert "must look like" in run("tenants", "budget", "alice", "lots").err
    assert own() == ("5/minute", "100/day")
    run("tenants", "limit", "alice", "default")
    run("tenants", "budget", "alice", "default")
    assert own() == (None, None)
    assert {action for action, _ in actions(database)} == {"change_tenant"}


def test_conversations_sessions_and_figures_are_shown_under_the_names_of_rest(
    run: Run, database: Database
) -> None:
    said = json.loads(run("tenants", "messages", "alice", "--json").out)
    assert [(one["role"], one["content"]) for one in said] == [
        ("user", "I am alice"),
        ("assistant", "Hello"),
    ]
    assert "  I am alice\n" in run("tenants", "messages", "alice").out
    assert "There are no messages" in run("tenants", "messages", "alice", "--session", "x").err
    (session,) = json.loads(run("tenants", "sessions", "alice", "--json").out)
    assert (session["session_id"], session["message_count"]) == ("default", 2)
    for command in (("tenants", "metrics", "alice"), ("metrics",)):
        figures = json.loads(run(*command, "--window", "7d", "--json").out)
        assert {"requests", "errors", "rate_limited", "latency_ms", "series"} < set(figures)
        assert "rate limited" in run(*command).out
        assert run(*command, "--window", "1y").status == 2


def test_hidden_conversations_stay_hidden_in_the_terminal(run: Run, database: Database) -> None:
    hidden = run("tenants", "messages", "alice", hide="true")
    assert (hidden.status, hidden.out) == (1, "")
    assert "hidden" in hidden.err
    sessions = run("tenants", "sessions", "alice", hide="true")
    assert (sessions.status, sessions.out) == (1, "")
    plain = run("tenants", "export", "alice").out
    assert '"type":"message"' in plain
    left_out = run("tenants", "export", "alice", hide="true").out
    assert '"type":"end"' in left_out
    for kind in ("message", "session"):
        assert f'"type":"{kind}"' not in left_out
    assert (
        '"type":"message"' in run("tenants", "export", "alice", "--include-hidden", hide="true").out
    )
    told = json.loads(run("audit", "list", "--action", "export_tenant", "--json").out)
    assert [entry["before"]["conversations"] for entry in told] == [True, False, True]


def test_the_audit_log_is_listed_with_names(run: Run, database: Database) -> None:
    run("tenants", "block", "alice")
    run("tenants", "limit", "bob", "5/minute")
    newest, oldest = json.loads(run("audit", "list", "--json").out)
    assert (newest["tenant"], newest["after"]) == ("bob", {"rate_limit": "5/minute"})
    assert (oldest["tenant"], oldest["action"]) == ("alice", "block_tenant")
    for options in (("--tenant", "alice"), ("--action", "block_tenant"), ("--limit", "1")):
        assert len(json.loads(run("audit", "list", "--json", *options).out)) == 1
    for options in (("--tenant", "nobody"), ("--actor", "admin:x"), ("--until", "2020-01-01")):
        assert run("audit", "list", "--json", *options).out == "[]\n"
    assert len(json.loads(run("audit", "list", "--actor", "cli", "--json").out)) == 2


def test_a_tenant_goes_out_and_in_again(run: Run, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "alice.jsonl"
    assert run("tenants", "export", "alice", "--output", str(file)).out == ""
    assert file.stat().st_mode & 0o077 == 0, "it holds what users said"
    assert (
        run("tenants", "export", "alice").out.splitlines()[1:]
        == (file.read_text(encoding="utf-8").splitlines()[1:])
    )
    outcome = run("tenants", "import", "carol", str(file))
    assert outcome.out == "2 messages in 1 sessions and 0 requests imported.\n"
    assert "carol" in listed(run)
    again = run("tenants", "import", "carol", str(file))
    assert again.status == 1
    assert "in use" in again.err
    assert actions(database)[-1] == ("import_tenant", "cli")


def test_all_tenants_go_out_and_in_again(run: Run, database: Database, tmp_path: Path) -> None:
    file, chats = tmp_path / "all.jsonl", tmp_path / "chats.jsonl"
    assert run("tenants", "export", "--all", str(file)).err.endswith("2 tenants exported.\n")
    assert file.stat().st_mode & 0o077 == 0, "it holds what users said"
    assert run("tenants", "export", "--all", "--format", "openai", "--output", str(chats)).out == ""
    assert all("messages" in json.loads(line) for line in chats.read_text().splitlines())
    refused = run("tenants", "import", "--all", str(file))
    assert (refused.status, refused.out) == (1, "")
    assert "in use" in refused.err
    for user in ("alice", "bob"):
        run("tenants", "forget", user, "--yes")
    outcome = run("tenants", "import", "--all", str(file))
    assert outcome.out == "4 messages in 2 sessions and 0 requests of 2 tenants imported.\n"
    assert sorted(listed(run)) == ["alice", "bob"]
    chat = run("tenants", "export", "alice", "--format", "openai").out
    taken = run("tenants", "import", "carol", "--format", "openai", "-", typed=chat)
    assert taken.out == "2 messages in 1 sessions and 0 requests imported.\n"
    broken = run("tenants", "import", "--all", "-", typed="{}\n")
    assert (broken.status, "Line 1 " in broken.err) == (1, True)
    for wrong in (["export"], ["import", "carol"], ["import", "--all", "carol", str(file)]):
        assert run("tenants", *wrong).status == 2
    hidden = run("tenants", "export", "alice", "--format", "openai", hide="true")
    assert (hidden.status, hidden.out) == (1, "")


def _put_state(database: Database, text: str) -> None:
    database.write(
        lambda connection: connection.execute(
            "UPDATE sessions SET state = :text, state_version = 1 WHERE tenant_id ="
            " (SELECT id FROM tenants WHERE user_id = 'alice')",
            {"text": text},
        )
    )


def test_cleanup_forgets_the_inactive(run: Run, database: Database) -> None:
    dry = run("cleanup", "--inactive", "24h", "--dry-run")
    assert dry.out == "1 tenants with 2 messages are inactive.\n"
    assert listed(run) == ["bob", "alice"]
    assert (
        run("cleanup", "--inactive", "24h", "--yes").out == "1 tenants with 2 messages forgotten.\n"
    )
    assert listed(run) == ["bob"]
    assert actions(database) == [("forget_inactive", "cli")]
    assert (
        run("cleanup", "--inactive", "24h", "--yes").out == "0 tenants with 0 messages forgotten.\n"
    )


@pytest.mark.parametrize(
    "arguments", [[], ["--inactive", "soon"], ["--inactive", "-1h"], ["--inactive", "0s"]]
)
def test_cleanup_wants_a_length_of_time(run: Run, database: Database, arguments: list[str]) -> None:
    assert run("cleanup", *arguments).status == 2
    assert listed(run) == ["bob", "alice"]


def test_a_session_is_listed_shown_renamed_cleared_and_forgotten(
    run: Run, database: Database
) -> None:
    (session,) = json.loads(run("sessions", "list", "alice", "--search", "ALICE", "--json").out)
    assert json.loads(run("sessions", "show", "alice", "default", "--json").out) == session
    assert session["title"] == "I am alice"
    assert "I am alice" in run("sessions", "list", "alice").out
    assert "no such sessions" in run("sessions", "list", "alice", "--search", "x").err
    empty = run("sessions", "state", "alice", "default")
    assert (empty.out, empty.err) == ("{}\n", "Version 0.\n")
    _put_state(database, '{"cart":["\\u009b tea"]}')
    assert "\\x9b tea" in run("sessions", "state", "alice", "default").out
    told = json.loads(run("sessions", "state", "alice", "default", "--json").out)
    assert (told["state"], told["version"]) == ({"cart": ["\x9b tea"]}, 1)
    assert run("sessions", "state", "alice", "default", hide="true").status == 1
    renamed = run("sessions", "rename", "alice", "default", "Invoice of May")
    assert renamed.out == "default of alice is called “Invoice of May”.\n"
    assert run("sessions", "rename", "alice", "default").status == 2
    assert run("sessions", "rename", "alice", "default", " ").status == 1
    assert "I am alice" in run("sessions", "rename", "alice", "default", "--reset").out
    asked = run("sessions", "clear", "alice", "default", typed="y\n")
    assert (asked.status, "Clear 2 messages of default of alice?" in asked.err) == (2, True)
    assert run("sessions", "clear", "alice", "default", "--yes").out == "2 messages cleared.\n"
    gone = run("sessions", "forget", "alice", "default", "--yes")
    assert gone.out == "default of alice is forgotten: 0 messages.\n"
    assert "no such session" in run("sessions", "show", "alice", "default").err
    assert [action for action, _ in actions(database)][-2:] == ["clear_session", "forget_session"]


def test_cleanup_removes_what_is_too_old(run: Run, database: Database) -> None:
    old = [Message("user", "old", created_at_ms=NOW), Message("assistant", "x", created_at_ms=NOW)]

    def work(connection: Connection) -> None:
        store_messages(connection, store.ensure(connection, "alice", NOW), "old", old, 0, NOW)

    database.write(work)
    dry = run("cleanup", "--max-age", "24h", "--dry-run")
    assert dry.out == "2 messages of 1 sessions are too old.\n"
    asked = run("cleanup", "--max-age", "24h")
    assert (asked.status, "Remove 2 old messages of 1 sessions?" in asked.err) == (2, True)
    done = run("cleanup", "--max-age", "24h", "--yes")
    assert done.out == "2 old messages of 1 sessions removed.\n"
    assert actions(database)[-1] == ("drop_old_messages", "cli")


@pytest.mark.parametrize(
    "command", [("list", "alice"), ("show", "alice", "default"), ("rename", "alice", "x", "y")]
)
def test_titles_are_hidden_in_the_terminal(
    run: Run, database: Database, command: tuple[str, ...]
) -> None:
    hidden = run("sessions", *command, hide="true")
    assert (hidden.status, hidden.out) == (1, "")
