"""Estimates how hard a secret is to guess, in bits, by the ways in which people invent secrets.

Placeholder words, neighbouring keys and repetitions count next to nothing; only the rest counts as
random. Which secrets there are is not here.
"""

from __future__ import annotations

import math
import string

# What was drawn at random in 32 characters has 90 or more. A long phrase of other words may pass:
# refusing it would only teach people to disguise it. The tests hold where the line is.
ENOUGH_BITS = 41.5
_PATTERN_BITS = 1.0
_SHORTEST = 3
_SEPARATORS = frozenset("-_ .,:;/|")

_WALKS = (
    string.ascii_lowercase,
    "01234567890",
    *("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertz", "yxcvbnm", "azerty", "qsdfghjklm", "wxcvbn"),
    *("1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "1q2w3e4r5t6y7u8i9o0p", "!@#$%^&*()"),
)
_RUNS = tuple(walk for line in _WALKS for walk in (line, line[::-1]))
_PLACEHOLDERS = """
    able access account admin administrator agent also amet and any anything api apikey app
    application auth bar battery baz before bot change changed changeit changeme char character
    characters chat check code company config cookie correct crypto customer default demo deploy
    dev develop development django docker dolor dont dragon dummy edit encrypt encryption enter
    env environment example fill fixme flask foo football for from fun generate generated get
    hash hello here hex horse idea iloveyou insecure insert internal ipsum key keys least length
    letmein local localhost login long lorem make master minimum model monkey must name need never
    new none not null number old one only openai our pass passphrase passwd password pick
    placeholder please princess private prod production project public put qux random real
    replace root run safe sample save secret secrets secure security server service session set
    setting should sign signature signing some something staging staple start string strong
    sunshine super supersecret switchboard system temp temporary tenant test testing tests than
    that the there this thirty three todo token top two type undefined unsafe use used user
    username users using value very web welcome will with word world write xxx you your
"""
_WORDS = frozenset(_PLACEHOLDERS.split())
_LONGEST_WORD = max(map(len, _WORDS))
_DISGUISED = str.maketrans("013457@$!", "oleastasi")


def bits_of(text: str) -> float:
    """The bits that it takes to guess the secret, estimated in favour of the attacker."""
    plain = text.lower()
    undisguised = plain.translate(_DISGUISED)
    each = math.log2(_alphabet(text))
    bits, place = 0.0, 0
    while place < len(text):
        if text[place] in _SEPARATORS:
            bits, place = bits + 1, place + 1
            continue
        length = max(
            _word(undisguised, place),
            _run(plain, place),
            _repeat(plain, place),
            _short_word(plain, place),
        )
        bits += min(_PATTERN_BITS, each * length) if length else each
        place += length or 1
    return bits


def _alphabet(text: str) -> int:
    """From how many characters these seem to have been drawn."""
    if all(char in string.hexdigits for char in text):
        return 10 if text.isdigit() else 16
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    used = sum(len(kind) for kind in kinds if any(char in kind for char in text))
    others = {char for char in text if not (char.isascii() and char.isalnum())}
    return max(2, used + 2 * len(others))


def _word(text: str, place: int) -> int:
    for length in range(_LONGEST_WORD, _SHORTEST - 1, -1):
        if text[place : place + length] in _WORDS:
            return length
    return 0


def _short_word(text: str, place: int) -> int:
    """How many characters stand between two separators here, when they are as few as in `is`."""
    if place and text[place - 1] not in _SEPARATORS:
        return 0
    length = 0
    while place + length < len(text) and text[place + length] not in _SEPARATORS:
        length += 1
    return length if length <= _SHORTEST else 0


def _run(text: str, place: int) -> int:
    """How many characters from here go along an alphabet or a row of keys."""
    longest = 0
    for line in _RUNS:
        at = line.find(text[place : place + _SHORTEST])
        if at < 0 or len(text) - place < _SHORTEST:
            continue
        length = _SHORTEST
        while (
            text[place + length : place + length + 1] == line[at + length : at + length + 1] != ""
        ):
            length += 1
        longest = max(longest, length)
    return longest


def _repeat(text: str, place: int) -> int:
    """How many characters from here have stood before, right here too: `aaaa` repeats its a."""
    length = 0
    while place + length < len(text):
        if text.find(text[place : place + length + 1], 0, place + length) < 0:
            break
        length += 1
    return length if length >= _SHORTEST else 0
