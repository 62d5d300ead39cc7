"""`switchboard admins`, `keys` and `db encrypt-user-ids`, run as a person would run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.accounts.having import has_password
from webapp.access import AUDIT_PURPOSE, derived_secret
from webapp.accounts import audit
from webapp.accounts.admins import Admins
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import Actor, AuditLog, VerifiedChain
from webapp.accounts.keys import Keys
from webapp.cli import switchboard
from webapp.clock import SystemClock
from webapp.services import build_services
from webapp.settings import load_settings
from webapp.storage import Connection, Database, open_database
from webapp.tenants import store
from webapp.tenants.user_ids.forms import PlainUserIds

PASSWORD = "correct horse battery"
SECRET = "Zk3vQ9xTf0aLrWm2-tests-YpNc7HdUb5EsGj8K"
LOG = AuditLog(derived_secret(SECRET, AUDIT_PURPOSE), SystemClock())
USER_ID_KEY = "hQ7nWc2xRv5mZt9k-ids-LpYb4GsJd8FuTe3Ea"


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
    def command(*arguments: str, typed: str = "", user_id_key: str = "") -> Outcome:
        environment = {
            "SWITCHBOARD_DATABASE_URL": url,
            "SWITCHBOARD_SECRET_KEY": SECRET,
            "SWITCHBOARD_USER_ID_KEY": user_id_key,
        }
        result = CliRunner().invoke(switchboard, arguments, input=typed, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    assert command("db", "upgrade").status == 0
    return command


@pytest.fixture
def database(url: str, run: Run) -> Database:
    return open_database(url)


def test_the_first_account_is_an_owner_and_the_next_one_a_viewer(
    run: Run, database: Database
) -> None:
    assert run("admins", "create", "Alice", typed=f"{PASSWORD}\n").status == 0
    assert run("admins", "create", "bob", typed=f"{PASSWORD}\n").status == 0
    made = run("admins", "create", "carol", "--role", "operator", typed=f"{PASSWORD}\n")
    assert PASSWORD not in made.out + made.err
    admins = Admins(database, Passwords(), audit=LOG)
    assert [(admin.name, admin.role) for admin in admins.list()] == [
        ("alice", "owner"),
        ("bob", "viewer"),
        ("carol", "operator"),
    ]
    assert has_password(database, "alice", PASSWORD)
    listed = run("admins", "list").out
    assert "alice\towner\tactive\tnever" in listed.splitlines()
    assert [entry["role"] for entry in json.loads(run("admins", "list", "--json").out)] == [
        "owner",
        "viewer",
        "operator",
    ]


@pytest.mark.parametrize("typed", ["", "\n", "short\n"])
def test_an_account_needs_a_password_that_holds(run: Run, typed: str) -> None:
    outcome = run("admins", "create", "alice", typed=typed)
    assert outcome.status == 1
    assert "password too short" in outcome.err
    assert "no accounts yet" in run("admins", "list").err


def test_a_password_is_never_an_argument(run: Run) -> None:
    for command in ("create", "set-password"):
        assert run("admins", command, "alice", PASSWORD).status == 2
        assert "--password" not in run("admins", command, "--help").out


def test_the_last_owner_is_not_disabled(run: Run) -> None:
    run("admins", "create", "alice", typed=f"{PASSWORD}\n")
    for arguments in (("disable", "alice"), ("set-role", "alice", "viewer")):
        outcome = run("admins", *arguments)
        assert outcome.status == 1
        assert "last active owner" in outcome.err


def test_an_account_is_disabled_enabled_and_given_a_new_password(
    run: Run, database: Database
) -> None:
    run("admins", "create", "alice", typed=f"{PASSWORD}\n")
    run("admins", "create", "bob", typed=f"{PASSWORD}\n")
    assert run("admins", "disable", "bob").status == 0
    assert "disabled" in run("admins", "list").out
    assert run("admins", "enable", "bob").status == 0
    assert run("admins", "set-role", "bob", "operator").status == 0
    assert run("admins", "set-password", "bob", typed="another long password\n").status == 0
    admins = Admins(database, Passwords(), audit=LOG)
    assert has_password(database, "bob", "another long password")
    assert admins.get("bob").role == "operator"
    assert "There is no such account." in run("admins", "disable", "nobody").err


def test_a_key_is_shown_once_and_works(run: Run, database: Database) -> None:
    made = run("keys", "create", "shop", "--role", "chat", "--users", "org-*")
    secret = made.out.strip()
    assert secret.startswith("sb_")
    assert secret not in made.err
    keys = Keys(database, PlainUserIds(b"k" * 32), audit=LOG)
    found = keys.verify(secret)
    assert found is not None
    assert (found.role, str(found.users)) == ("chat", "org-*")
    listed = run("keys", "list")
    assert secret not in listed.out
    assert found.name in listed.out
    (entry,) = json.loads(run("keys", "list", "--json").out)
    assert (entry["name"], entry["users"], entry["state"]) == ("shop", "org-*", "active")
    assert "secret" not in entry


def test_a_key_is_rotated_and_revoked_by_id_or_prefix(run: Run, database: Database) -> None:
    keys = Keys(database, PlainUserIds(b"k" * 32), audit=LOG)
    first = json.loads(
        run("keys", "create", "shop", "--role", "chat", "--users", "*", "--json").out
    )
    second = json.loads(run("keys", "rotate", first["id"], "--overlap", "1h", "--json").out)
    assert second["rotated_from"] == first["id"]
    assert keys.verify(first["secret"]) is not None
    assert keys.verify(second["secret"]) is not None
    assert run("keys", "revoke", first["prefix"]).status == 0
    assert keys.verify(first["secret"]) is None
    third = run("keys", "rotate", second["prefix"], "--overlap", "0s").out.strip()
    assert keys.verify(second["secret"]) is None
    assert keys.verify(third) is not None
    assert "no such key" in run("keys", "revoke", "unknown").err


def test_a_key_can_have_an_end(run: Run) -> None:
    made = run(
        "keys", "create", "a", "--role", "chat", "--users", "*", "--expires", "90d", "--json"
    )
    assert json.loads(made.out)["expires_at"].endswith("Z")
    for wrong in ("soon", "-1h", "0s"):
        outcome = run("keys", "create", "a", "--role", "chat", "--users", "*", "--expires", wrong)
        assert outcome.status in (1, 2)
        assert outcome.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "a", "--role", "root", "--users", "*"),
        ("keys", "create", "a", "--role", "chat"),
        ("keys", "create", "a", "--users", "*"),
        ("keys", "create", "a", "--role", "chat", "--users", "a*b"),
        ("keys", "create", "", "--role", "chat", "--users", "*"),
        ("admins", "create", "a b", "--role", "owner"),
        ("admins", "create", "alice", "--role", "chat"),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run(*arguments, typed=f"{PASSWORD}\n")
    assert outcome.status in (1, 2)
    assert outcome.err.strip()
    assert "Traceback" not in outcome.err


def test_what_the_command_line_does_is_in_the_audit_log(run: Run, database: Database) -> None:
    run("admins", "create", "alice", typed=f"{PASSWORD}\n")
    run("keys", "create", "shop", "--role", "chat", "--users", "*")
    with database.read() as connection:
        records = audit.page(connection).records
    assert [(entry.actor, entry.action) for entry in records] == [
        ("cli", "create_key"),
        ("cli", "create_admin"),
    ]
    assert isinstance(database.read_long(LOG.verify), VerifiedChain)


def test_user_ids_are_encrypted_by_a_command_that_the_start_names(
    run: Run, database: Database
) -> None:
    def work(connection: Connection) -> None:
        for number in range(7):
            store.ensure(connection, f"planted-{number}", 1)

    database.write(work)
    refused = run("keys", "list", user_id_key=USER_ID_KEY)
    assert refused.status == 1
    assert "switchboard db encrypt-user-ids" in refused.err

    assert "SWITCHBOARD_USER_ID_KEY is not set" in run("db", "encrypt-user-ids").err
    database.close()
    done = run("db", "encrypt-user-ids", user_id_key=USER_ID_KEY)
    assert done.status == 0, done.err
    assert "7 user ids" in done.out
    assert "0 user ids" in run("db", "encrypt-user-ids", user_id_key=USER_ID_KEY).out
    assert run("keys", "list", user_id_key=USER_ID_KEY).status == 0
    assert "is missing" in run("keys", "list").err
    assert "is not the key" in run("keys", "list", user_id_key=USER_ID_KEY + "!").err


def test_without_a_database_a_command_says_how_to_make_one(tmp_path: Path) -> None:
    environment = {"SWITCHBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"}
    result = CliRunner().invoke(switchboard, ["keys", "list"], env=environment)
    assert result.exit_code == 1
    assert "switchboard db upgrade" in result.stderr


def test_a_changed_secret_is_told_from_a_changed_log_and_sealed_anew(
    run: Run, database: Database
) -> None:
    run("keys", "create", "shop", "--role", "chat", "--users", "*")
    other = AuditLog(b"another key, after a rotation of", SystemClock())
    entry = audit.AuditEntry(Actor.command_line(), "create_key")
    database.write(lambda connection: other.record(connection, entry))
    told = run("check")
    assert "up to 2 of 2 are not sealed under this SWITCHBOARD_SECRET_KEY" in told.out
    assert "was changed at entry" not in told.out
    assert "Nobody can be asked" in run("audit", "seal").err
    sealed = run("audit", "seal", "--yes")
    assert "2 entries are sealed, head " in sealed.out
    assert isinstance(database.read_long(LOG.verify), VerifiedChain)
    assert "ok     audit log: 3 entries" in run("check").out
    assert "already" in run("audit", "seal", "--yes").out


def test_commands_without_a_secret_share_the_one_of_the_instance(tmp_path: Path) -> None:
    loaded = load_settings({}, tmp_path)
    first, second = (build_services(loaded) for _ in range(2))
    first.upgrade_database()
    for services in (first, second, first):
        services.keys.create("k", role="chat", users="*", by=Actor.command_line())
    assert isinstance(second.database.read_long(second.audit.verify), VerifiedChain)
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0
    for services in (first, second):
        services.close()
