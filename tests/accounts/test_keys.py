"""Keys: shown once, stored as a hash, checked in one read, gone at once."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from threading import Thread

import pytest

from tests.accounts.conftest import StillClock
from webapp.accounts import audit
from webapp.accounts.audit import Actor, AuditLog, VerifiedChain
from webapp.accounts.keys import Keys, forget_user
from webapp.accounts.keys.key import NewKey
from webapp.accounts.user_pattern import UserPattern
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.storage import Database
from webapp.tenants.user_ids.forms import PlainUserIds


@pytest.fixture
def keys(database: Database, user_ids: PlainUserIds, log: AuditLog, clock: StillClock) -> Keys:
    return Keys(database, user_ids, audit=log, clock=clock)


@pytest.fixture
def made(keys: Keys, alice: Actor) -> NewKey:
    return keys.create("shop backend", role="operator", users="org-acme-*", by=alice)


def test_a_key_opens_with_its_role_and_its_users(keys: Keys, made: NewKey) -> None:
    found = keys.verify(made.secret)
    assert found is not None
    assert (found.kind, found.name, found.role) == ("key", made.key.id, "operator")
    assert found.may_speak_for("org-acme-bob")
    assert not found.may_speak_for("bob")


def test_the_secret_is_long_shown_once_and_in_no_file(
    keys: Keys, made: NewKey, database: Database
) -> None:
    secret = made.secret.removeprefix(made.key.prefix + "_")
    assert len(secret) >= 43
    assert made.secret.startswith("sb_")
    assert secret not in repr(made)
    database.close()
    folder = Path(database.url.removeprefix("sqlite:///")).parent
    for file in folder.iterdir():
        content = file.read_bytes()
        assert secret.encode() not in content
    assert made.key.prefix == "sb_" + made.key.id


def spoilt(secret: str) -> list[str]:
    scheme, key_id, rest = secret.split("_", 2)
    return [
        "",
        secret[:-1],
        secret + "A",
        secret + "=",
        secret + " ",
        " " + secret,
        secret + "\x00",
        secret.swapcase(),
        secret.upper(),
        secret.replace("sb_", "SB_", 1),
        secret.replace("_", "-", 2),
        f"sb_{key_id}",
        f"sb_{key_id}_",
        f"sb__{rest}",
        f"sb_{key_id[:-1]}_{rest}",
        f"sb_{key_id.upper()}_{rest}" if key_id.upper() != key_id else "sb",
        f"sb_%_{rest}",
        f"sb_{'0' * 12}_{rest}",
        f"sb_{key_id}_{'A' * 43}",
        f"sb_{key_id}_" + "A" * 100_000,
        f"sb_{key_id}_{rest[:-1]}\u0410",
        f"sb_{key_id}_\udcff{rest}",
        "\u2028" * 50,
        f"{scheme}_{key_id}_{rest}\r\nX-Role: owner",
        f"sb_' OR 1=1 --_{rest}",
    ]


def test_a_key_that_is_cut_padded_or_recased_is_no_key(keys: Keys, made: NewKey) -> None:
    for text in spoilt(made.secret):
        assert keys.verify(text) is None, text[:60]
    assert keys.verify(made.secret) is not None


def test_one_keys_secret_does_not_open_another(keys: Keys, made: NewKey, alice: Actor) -> None:
    other = keys.create("other", role="owner", users="*", by=alice)
    secret = made.secret.split("_", 2)[2]
    assert keys.verify(f"{other.key.prefix}_{secret}") is None


def test_a_revoked_key_is_refused_at_once_everywhere(
    keys: Keys,
    made: NewKey,
    alice: Actor,
    database: Database,
    user_ids: PlainUserIds,
    log: AuditLog,
) -> None:
    elsewhere = Keys(database, user_ids, audit=log)
    assert elsewhere.verify(made.secret) is not None
    assert keys.standing(made.key.id) is not None
    keys.revoke(made.key.id, by=alice)
    assert keys.verify(made.secret) is None
    assert elsewhere.verify(made.secret) is None
    assert elsewhere.standing(made.key.id) is None


def test_a_key_ends_at_its_expiry(keys: Keys, alice: Actor, clock: StillClock) -> None:
    new = keys.create("short", role="chat", users="*", by=alice, expires_at=clock.ms + 60_000)
    clock.forward(59.9)
    assert keys.verify(new.secret) is not None
    clock.forward(0.1)
    assert keys.verify(new.secret) is None
    assert keys.get(new.key.id).state(clock.ms) == "expired"


def test_a_rotated_key_works_beside_the_new_one_until_the_overlap_ends(
    keys: Keys, made: NewKey, alice: Actor, clock: StillClock
) -> None:
    new = keys.rotate(made.key.id, by=alice, overlap_seconds=3600)
    assert (new.key.name, new.key.role, new.key.users) == (
        made.key.name,
        made.key.role,
        made.key.users,
    )
    assert new.key.rotated_from == made.key.id
    clock.forward(3599)
    assert keys.verify(made.secret) is not None
    assert keys.verify(new.secret) is not None
    clock.forward(1)
    assert keys.verify(made.secret) is None
    assert keys.verify(new.secret) is not None


def test_a_rotation_without_overlap_revokes_the_old_key(
    keys: Keys, made: NewKey, alice: Actor
) -> None:
    new = keys.rotate(made.key.id, by=alice, overlap_seconds=0)
    assert keys.verify(made.secret) is None
    assert keys.standing(made.key.id) is None
    assert keys.verify(new.secret) is not None


def test_an_overlap_never_makes_a_key_last_longer(
    keys: Keys, alice: Actor, clock: StillClock
) -> None:
    old = keys.create("short", role="chat", users="*", by=alice, expires_at=clock.ms + 60_000)
    clock.forward(30)
    new = keys.rotate(old.key.id, by=alice, overlap_seconds=86_400)
    assert keys.get(old.key.id).expires_at == old.key.expires_at
    assert new.key.expires_at == clock.ms + 60_000


def test_a_key_is_rotated_once_and_only_while_it_is_active(
    keys: Keys, made: NewKey, alice: Actor
) -> None:
    new = keys.rotate(made.key.id, by=alice)
    with pytest.raises(Conflict):
        keys.rotate(made.key.id, by=alice)
    keys.revoke(new.key.id, by=alice)
    with pytest.raises(Conflict):
        keys.rotate(new.key.id, by=alice)
    with pytest.raises(InvalidInput):
        keys.rotate(made.key.id, by=alice, overlap_seconds=-1)


def test_two_admins_who_rotate_at_once_make_one_new_key(
    keys: Keys, made: NewKey, alice: Actor
) -> None:
    outcomes: list[str] = []

    def rotate() -> None:
        try:
            keys.rotate(made.key.id, by=alice)
            outcomes.append("new")
        except Conflict:
            outcomes.append("conflict")

    threads = [Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "conflict", "conflict", "new"]


def test_the_last_use_is_noted_once_a_minute(keys: Keys, made: NewKey, clock: StillClock) -> None:
    assert keys.get(made.key.id).last_used_at is None
    keys.verify(made.secret)
    first = clock.ms
    clock.forward(59)
    keys.verify(made.secret)
    assert keys.get(made.key.id).last_used_at == first
    clock.forward(1)
    keys.verify(made.secret)
    assert keys.get(made.key.id).last_used_at == clock.ms


def test_a_refused_key_was_not_used(keys: Keys, made: NewKey) -> None:
    for text in spoilt(made.secret):
        keys.verify(text)
    assert keys.get(made.key.id).last_used_at is None


def test_every_act_on_a_key_is_in_the_audit_log_without_its_secret_or_its_user(
    keys: Keys, alice: Actor, database: Database, log: AuditLog
) -> None:
    first = keys.create("bob's phone", role="chat", users="bob-smith", by=alice)
    second = keys.rotate(first.key.id, by=alice)
    keys.revoke(second.key.id, by=alice)
    keys.revoke(second.key.id, by=alice)
    with database.read() as connection:
        records = audit.page(connection).records
    assert [entry.action for entry in records] == ["revoke_key", "rotate_key", "create_key"]
    assert records[0].target == f"key:{second.key.id}"
    text = repr(records)
    assert first.secret.split("_", 2)[2] not in text
    assert "bob-smith" not in text
    assert isinstance(database.read_long(log.verify), VerifiedChain)


def test_keys_are_listed_newest_first_with_all_but_the_secret(
    keys: Keys, alice: Actor, clock: StillClock
) -> None:
    for name, users in (("one", "bob"), ("two", "org-*"), ("three", "*")):
        keys.create(name, role="chat", users=users, by=alice)
        clock.forward(1)
    listed = keys.list()
    assert [(key.name, str(key.users)) for key in listed] == [
        ("three", "*"),
        ("two", "org-*"),
        ("one", "bob"),
    ]
    assert listed[0].created_by == "admin:alice"
    assert listed[2].users == UserPattern.only("bob")


@pytest.mark.parametrize(
    ("name", "role", "users"),
    [
        ("", "chat", "*"),
        ("  ", "chat", "*"),
        ("x" * 101, "chat", "*"),
        ("a\x1bb", "chat", "*"),
        ("a", "root", "*"),
        ("a", "chat", "**"),
        ("a", "chat", ""),
        ("a", "chat", "a/b"),
    ],
)
def test_a_key_with_a_bad_name_role_or_pattern_is_not_made(
    keys: Keys, alice: Actor, name: str, role: str, users: str
) -> None:
    with pytest.raises(InvalidInput):
        keys.create(name, role=role, users=users, by=alice)
    assert keys.list() == ()


def test_an_unknown_key_is_not_found(keys: Keys, alice: Actor) -> None:
    with pytest.raises(NotFound):
        keys.get("nosuchkey")
    with pytest.raises(NotFound):
        keys.revoke("nosuchkey", by=alice)
    with pytest.raises(NotFound):
        keys.rotate("nosuchkey", by=alice)


def test_forgetting_a_user_deletes_the_keys_of_that_user_alone(
    keys: Keys, alice: Actor, database: Database, user_ids: PlainUserIds
) -> None:
    gone = keys.create("phone", role="chat", users="bob", by=alice)
    kept = keys.create("team", role="chat", users="bob*", by=alice)
    assert database.write(lambda connection: forget_user(connection, user_ids, "bob")) == 1
    assert keys.verify(gone.secret) is None
    assert keys.verify(kept.secret) is not None


def test_unknown_ids_take_as_long_as_wrong_secrets(keys: Keys, made: NewKey) -> None:
    wrong = f"{made.key.prefix}_{'A' * 43}"
    unknown = f"sb_{'0' * 12}_{'A' * 43}"

    times: dict[str, list[float]] = {wrong: [], unknown: []}
    for _ in range(1000):
        for presented, taken in times.items():
            start = time.perf_counter()
            keys.verify(presented)
            taken.append(time.perf_counter() - start)
    first, second = median(times[wrong]), median(times[unknown])
    assert abs(first - second) < 0.5 * max(first, second)
