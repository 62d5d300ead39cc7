"""A secret is judged by what is left when words, rows of keys and repetitions are taken away."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

import pytest

from webapp.errors import ConfigurationError
from webapp.secret_strength import ENOUGH_BITS, bits_of
from webapp.settings import load_settings

WEAK = [
    "a" * 40,
    "ab" * 20,
    "a" * 20 + "b" * 20,
    "a1b2c3d4e5" * 4,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "9876543210zyxwvutsrqponmlkjihgfedcba",
    "0123456789abcdef" * 3,
    "changemechangemechangemechangeme12",
    "change-this-secret-key-in-production!",
    "Ch4ngeM3-Ch4ngeTh1s-P4ssw0rd-S3cret!",
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y7u8i",
    "correct horse battery staple 0123456789",
    "your-256-bit-secret-key-goes-here-please",
    "my_very_long_secret_key_that_is_32_chars",
    "insecure-dev-key-do-not-use-in-production-ever",
    "00000000-0000-0000-0000-000000000000",
    "Abcd1234!" * 5,
]


PHRASES = [
    "a-long-enough-secret-for-tests-0123456789",
    "seven ordinary lanterns hum beside the copper gate",
]


@pytest.mark.parametrize("text", PHRASES)
def test_a_long_phrase_of_other_words_passes(text: str) -> None:
    assert bits_of(text) >= ENOUGH_BITS


@pytest.mark.parametrize("text", WEAK)
def test_what_people_make_up_is_weak(text: str) -> None:
    assert bits_of(text) < ENOUGH_BITS


def test_what_was_drawn_is_strong_enough_each_time() -> None:
    for _ in range(500):
        for drawn in (
            secrets.token_urlsafe(48),
            secrets.token_urlsafe(24),
            secrets.token_hex(16),
            secrets.token_hex(32),
            str(uuid.uuid4()),
            "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(32)),
        ):
            assert bits_of(drawn) >= ENOUGH_BITS, drawn


@pytest.mark.parametrize("name", ["JWT_SECRET", "USER_ID_KEY"])
@pytest.mark.parametrize("text", WEAK)
def test_a_weak_secret_stops_the_start_and_is_not_repeated(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"SWITCHBOARD_{name} is weak") as caught:
        load_settings({f"SWITCHBOARD_{name}": text}, tmp_path)
    assert text not in str(caught.value)
