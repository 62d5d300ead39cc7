"""User ids at rest: unreadable in the file, whole in the console, and tied to one key."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.accounts.audit import Actor, AuditLog
from webapp.accounts.keys import Keys
from webapp.clock import SystemClock
from webapp.errors import ConfigurationError, StorageUnavailable
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.encryption import check_user_id_key, encrypt_user_ids
from webapp.tenants import store
from webapp.tenants.user_ids.encrypted import MARK, EncryptedUserIds
from webapp.tenants.user_ids.forms import PlainUserIds, UserIds

REFERENCE_KEY = b"r" * 32
KEY = "hQ7nWc2xRv5mZt9k-ids-LpYb4GsJd8FuTe3Ea"
PLAIN = PlainUserIds(REFERENCE_KEY)
ENCRYPTED = EncryptedUserIds(KEY, REFERENCE_KEY)
OTHER = EncryptedUserIds(KEY + "!", REFERENCE_KEY)
PLANTED = "planted-word-mallory"
LOG = AuditLog(b"a key of the tests for the audit", SystemClock())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'switchboard.db'}")
    opened.upgrade()
    yield opened
    opened.close()


def add_tenants(database: Database, user_ids: UserIds, *names: str) -> None:
    def work(connection: Connection) -> None:
        for name in names:
            store.ensure(connection, user_ids.stored(name), 1)

    database.write(work)


def stored_ids(database: Database) -> list[str]:
    with database.read() as connection:
        rows = connection.execute("SELECT user_id FROM tenants ORDER BY id").fetchall()
    return [row[0] for row in rows]


def files_of(database: Database) -> bytes:
    path = Path(database.url.removeprefix("sqlite:///"))
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=255))
def test_every_id_comes_back_as_it_was(user_id: str) -> None:
    stored = ENCRYPTED.stored(user_id)
    assert ENCRYPTED.readable(stored) == user_id
    assert stored == EncryptedUserIds(KEY, REFERENCE_KEY).stored(user_id)
    assert stored.isascii()


def test_ids_that_look_alike_are_kept_apart() -> None:
    names = ["alice", "Alice", "alice ", "\u0430lice", "caf\u00e9", "cafe\u0301"]
    assert len({ENCRYPTED.stored(name) for name in names}) == len(names)


def test_the_form_at_rest_says_nothing_and_depends_on_the_key() -> None:
    stored = ENCRYPTED.stored("alice")
    assert stored.startswith(MARK)
    assert "alice" not in stored
    assert stored != OTHER.stored("alice")
    assert ENCRYPTED.key_check != OTHER.key_check


def test_a_form_that_was_changed_cut_or_made_with_another_key_is_refused() -> None:
    stored = ENCRYPTED.stored("alice")
    flipped = stored[:-3] + ("A" if stored[-3] != "A" else "B") + stored[-2:]
    mistaken = [
        flipped,
        stored[:-1],
        stored + "AAAA",
        stored.removeprefix(MARK),
        MARK,
        MARK + "!!",
        MARK + "é",
        MARK + base64.urlsafe_b64encode(b"x" * 40).decode(),
        "alice",
        "",
        OTHER.stored("alice"),
    ]
    for text in mistaken:
        with pytest.raises(StorageUnavailable):
            ENCRYPTED.readable(text)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 32"):
        EncryptedUserIds("x" * 31, REFERENCE_KEY)


def test_references_do_not_change_with_encryption() -> None:
    assert ENCRYPTED.reference("alice") == PLAIN.reference("alice")


def test_an_empty_database_takes_the_key_and_keeps_to_it(database: Database) -> None:
    check_user_id_key(database, ENCRYPTED)
    check_user_id_key(database, ENCRYPTED)
    with pytest.raises(ConfigurationError, match="is not the key"):
        check_user_id_key(database, OTHER)
    with pytest.raises(ConfigurationError, match="is missing"):
        check_user_id_key(database, PLAIN)


def test_without_a_key_a_plain_database_is_as_ever(database: Database) -> None:
    add_tenants(database, PLAIN, "alice")
    check_user_id_key(database, PLAIN)


def test_a_key_over_plain_ids_stops_the_start_and_names_the_command(database: Database) -> None:
    add_tenants(database, PLAIN, "alice")
    with pytest.raises(ConfigurationError, match="switchboard db encrypt-user-ids"):
        check_user_id_key(database, ENCRYPTED)


def test_a_plain_key_for_one_user_stops_the_start_too(database: Database) -> None:
    Keys(database, PLAIN, audit=LOG).create(
        "k", role="chat", users="alice", by=Actor.command_line()
    )
    with pytest.raises(ConfigurationError, match="switchboard db encrypt-user-ids"):
        check_user_id_key(database, ENCRYPTED)


def test_an_existing_database_is_encrypted_with_progress(database: Database) -> None:
    names = [f"user-{number}" for number in range(1234)]
    add_tenants(database, PLAIN, *names)
    seen: list[tuple[int, int]] = []
    done = encrypt_user_ids(
        database, ENCRYPTED, progress=lambda done, all_: seen.append((done, all_)), batch=500
    )
    assert done == 1234
    assert seen == [(500, 1234), (1000, 1234), (1234, 1234)]
    assert [ENCRYPTED.readable(stored) for stored in stored_ids(database)] == names
    check_user_id_key(database, ENCRYPTED)
    assert encrypt_user_ids(database, ENCRYPTED) == 0
    with database.read() as connection:
        assert store.number_of(connection, ENCRYPTED.stored("user-7")) == 8
        assert store.number_of(connection, "user-7") is None


def test_it_can_be_stopped_at_any_batch_and_run_again(database: Database) -> None:
    names = [f"user-{number}" for number in range(25)]
    add_tenants(database, PLAIN, *names)

    def stop(done: int, _all: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encrypt_user_ids(database, ENCRYPTED, progress=stop, batch=10)
    half = stored_ids(database)
    assert sum(stored.startswith(MARK) for stored in half) == 20
    with pytest.raises(ConfigurationError, match="switchboard db encrypt-user-ids"):
        check_user_id_key(database, ENCRYPTED)
    with pytest.raises(ConfigurationError, match="is missing"):
        check_user_id_key(database, PLAIN)
    with pytest.raises(ConfigurationError, match="begun with"):
        encrypt_user_ids(database, OTHER)

    assert encrypt_user_ids(database, ENCRYPTED, batch=10) == 5
    assert [ENCRYPTED.readable(stored) for stored in stored_ids(database)] == names
    check_user_id_key(database, ENCRYPTED)


def test_afterwards_no_plain_id_is_anywhere_in_the_files(database: Database) -> None:
    add_tenants(database, PLAIN, *(f"{PLANTED}-{number}" for number in range(300)))
    keys = Keys(database, PLAIN, audit=LOG)
    made = keys.create("k", role="chat", users=PLANTED, by=Actor.command_line())
    assert PLANTED.encode() in files_of(database)
    encrypt_user_ids(database, ENCRYPTED)
    content = files_of(database)
    for part in (PLANTED, "planted", "mallory"):
        assert part.encode() not in content
    found = Keys(database, ENCRYPTED, audit=LOG).verify(made.secret)
    assert found is not None
    assert found.may_speak_for(PLANTED)


def test_the_search_index_follows(database: Database) -> None:
    add_tenants(database, PLAIN, "alice-in-wonderland")

    def hits(text: str) -> int:
        with database.read() as connection:
            rows = connection.execute(
                "SELECT count(*) FROM tenant_search WHERE tenant_search MATCH :text",
                {"text": text},
            )
            return int(rows.fetchone()[0])

    assert hits("won") == 1
    encrypt_user_ids(database, ENCRYPTED)
    assert hits("won") == 0
