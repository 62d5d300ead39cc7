"""Passwords: hashed by argon2id, checked alike for everybody, hashed again when that improves."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from tests.fakes import until
from webapp.accounts.admins.passwords import (
    KNOWN_AT_ONCE,
    STRANGERS_AT_ONCE,
    WAITING,
    Passwords,
    check_new_password,
)
from webapp.errors import InvalidInput, RateLimited

CHEAP = Passwords(memory_kib=64, passes=1)
GOOD = "correct horse battery"


def test_a_password_fits_its_own_hash_and_no_other() -> None:
    kept = CHEAP.hash(GOOD)
    assert kept.startswith("$argon2id$")
    assert GOOD not in kept
    assert CHEAP.matches(GOOD, kept)
    for wrong in ("", GOOD + " ", GOOD.upper(), GOOD[:-1], GOOD + "\x00", "x" * 1_000_000):
        assert not CHEAP.matches(wrong, kept)
    assert CHEAP.hash(GOOD) != kept


def test_one_password_typed_on_two_keyboards_is_one_password() -> None:
    kept = CHEAP.hash("caf\u00e9 caf\u00e9 caf\u00e9")
    assert CHEAP.matches("cafe\u0301 cafe\u0301 cafe\u0301", kept)


@pytest.mark.parametrize("kept", [None, "", "x", "$argon2id$v=19$", "$2b$12$abc"])
def test_nothing_fits_an_account_without_a_whole_hash(kept: str | None) -> None:
    for password in ("", GOOD, "\x00" * 32):
        assert not CHEAP.matches(password, kept)


def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords()
    kept = passwords.hash(GOOD)
    times: dict[str | None, list[float]] = {kept: [], None: []}
    for _ in range(7):
        for which, taken in times.items():
            start = time.perf_counter()
            passwords.matches("wrong password", which)
            taken.append(time.perf_counter() - start)
    assert 0.5 < median(times[kept]) / median(times[None]) < 2
    assert not passwords.is_outdated(kept)


def test_a_hash_with_other_parameters_still_fits_and_is_outdated() -> None:
    stronger = Passwords(memory_kib=128, passes=2)
    kept = CHEAP.hash(GOOD)
    assert stronger.matches(GOOD, kept)
    assert stronger.is_outdated(kept)
    assert not stronger.is_outdated(stronger.hash(GOOD))


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "too short"),
        ("", "too short"),
        ("x" * 1025, "too long"),
        ("\ufdfa" * 100, "too long"),
        ("aaaaaaaaaaaaaaaaaa", "easy"),
        ("Alice.Example", "easy"),
        (None, "string"),
        (123456789012, "string"),
    ],
)
def test_a_password_that_would_not_hold_is_refused(password: object, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_new_password(password, name="alice.example")


@pytest.mark.parametrize(
    "password", [GOOD, "パスワードは長いほうがよい", "\U0001f40e\U0001f50b" * 3 + "abcdefgh"]
)
def test_a_long_password_of_any_script_is_taken(password: str) -> None:
    assert check_new_password(password, name="alice") == password


def test_a_flood_of_strangers_is_refused_and_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords, gate = Passwords(memory_kib=64, passes=1), threading.Event()
    kept = passwords.hash(GOOD)
    running, most = [0], [0]
    verify = passwords._verify

    def slowly(normal: bytes, stored: str) -> bool:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(10)
        running[0] -= 1
        return verify(normal, stored)

    monkeypatch.setattr(passwords, "_verify", slowly)

    def guess(_: int) -> str:
        try:
            return str(passwords.matches("wrong password", kept))
        except RateLimited as error:
            return error.code

    with ThreadPoolExecutor(60) as pool:
        guesses = pool.map(guess, range(60))
        until(lambda: running[0] == STRANGERS_AT_ONCE)
        owner = pool.submit(passwords.matches, GOOD, kept, known=True)
        until(lambda: running[0] == STRANGERS_AT_ONCE + KNOWN_AT_ONCE)
        gate.set()
        outcomes = list(guesses)
    assert owner.result()
    assert most[0] == STRANGERS_AT_ONCE + KNOWN_AT_ONCE
    assert outcomes.count("sign_in_busy") >= 60 - STRANGERS_AT_ONCE - WAITING - 60 // 10
    assert set(outcomes) == {"sign_in_busy", "False"}
    assert passwords.matches(GOOD, kept), "its place is free again"
