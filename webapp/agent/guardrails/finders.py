"""Finds personal data in a text: each finder gives the places of one kind, in order and apart.

RE2 finds what looks like it, in a time that grows with the text alone; `python-stdnum` and
`phonenumbers` say what it is. What they are asked is bounded, and the rest then counts as found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import phonenumbers
from stdnum import iban, luhn

from webapp.agent.guardrails.expressions import compiled
from webapp.errors import ConfigurationError

Spans: TypeAlias = list[tuple[int, int]]
Finder: TypeAlias = Callable[[str], Spans]

EMAIL = (
    r"[\pL\pN\pM.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"(?:[\pL\pN](?:[\pL\pN\pM-]*[\pL\pN\pM])?\.)+[\pL][\pL\pN\pM-]*[\pL\pN\pM]"
)
# A run of digits in groups: what has a letter or a digit right beside it is part of a longer word.
CARD = r"\d(?:[ .\x{00a0}\x{2010}-\x{2015}-]?\d){11,}"
CARD_DIGITS = range(13, 20)
CARD_BEGINNINGS = "23456"
IBAN = r"\b[A-Za-z]{2}\d{2}(?:[ \x{00a0}-]?[0-9A-Za-z]){11,30}"
IBAN_LENGTHS = range(15, 35)
SSN = r"\b\d{3}[- ]\d{2}[- ]\d{4}\b"
IP = r"[0-9A-Fa-f:.]*(?:\d\.\d|[0-9A-Fa-f]:|::)[0-9A-Fa-f:.]*"
PHONE = (
    r"[+\x{ff0b}(\[]{0,2}\p{Nd}"
    r"(?:[\s().\[\]/\x{00a0}\x{00ad}\x{2010}-\x{2015}\x{2212}\x{ff0d}-]{0,4}\p{Nd}){5,}"
)
# As numbers of North America are written; books and films have them with codes that do not exist.
NORTH_AMERICAN = r"(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[-. ])\d{3}[-. ]\d{4}\b"
FEWEST_DIGITS = 7
# Of text that the numbering plans are asked for, in one text.
MOST_ASKED = 1_000
MOST_CHECKED = 500


def finders(regions: tuple[str, ...]) -> dict[str, Finder]:
    """A finder for each kind; `ConfigurationError` for a region that there is not."""
    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise ConfigurationError(
                f"{region[:20]!r} is no region with a numbering plan; write two letters, as in US."
            )
    return {
        "email": partial(_every, compiled(EMAIL)),
        "iban": partial(_ibans, compiled(IBAN)),
        "credit_card": partial(_cards, compiled(CARD)),
        "us_ssn": partial(_every, compiled(SSN)),
        "phone": partial(
            _phones, compiled(PHONE), compiled(NORTH_AMERICAN) if "US" in regions else None, regions
        ),
        "ip_address": partial(_addresses, compiled(IP)),
    }


def _every(expression: Any, text: str) -> Spans:
    return [found.span() for found in expression.finditer(text)]


def _ibans(expression: Any, text: str) -> Spans:
    """Further words may follow an account's number: each length is tried, the long ones first."""
    spans: Spans = []
    for number, (start, end) in enumerate(_every(expression, text)):
        places = [place for place in range(start, end) if text[place].isalnum()]
        if number >= MOST_CHECKED:
            spans.append((start, end))
            continue
        for length in reversed(IBAN_LENGTHS):
            if length > len(places):
                continue
            stop = places[length - 1] + 1
            ends_there = stop == len(text) or not text[stop].isalnum()
            if ends_there and iban.is_valid(text[start:stop].replace("\u00a0", " ")):
                spans.append((start, stop))
                break
    return spans


def _cards(expression: Any, text: str) -> Spans:
    """A card's number may stand between other digits: any group may be its first or its last."""
    spans: Spans = []
    asked = 0
    for start, end in _every(expression, text):
        if _joined(text, start, end):
            continue
        groups = list(_groups(text, start, end))
        first = 0
        while first < len(groups):
            digits, last = "", first
            found = None
            while last < len(groups) and len(digits) <= CARD_DIGITS[-1]:
                digits += text[slice(*groups[last])]
                if len(digits) in CARD_DIGITS and digits[0] in CARD_BEGINNINGS:
                    asked += 1
                    if asked > MOST_CHECKED or luhn.is_valid(digits):
                        found = last
                last += 1
            if found is None:
                first += 1
            else:
                spans.append((groups[first][0], groups[found][1]))
                first = found + 1
    return spans


def _groups(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for place in range(start, end + 1):
        if place == end or not text[place].isdigit():
            if place > begin:
                yield begin, place
            begin = place + 1


def _joined(text: str, start: int, end: int) -> bool:
    """Whether it is a part of a longer word, such as a file's name."""
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return before.isalnum() or before == "_" or after.isalnum() or after == "_"


def _addresses(expression: Any, text: str) -> Spans:
    spans: Spans = []
    for number, (start, end) in enumerate(_every(expression, text)):
        found = text[start:end]
        if number >= MOST_CHECKED:
            spans.append((start, end))
            continue
        # A sentence may end behind it, or a port follow.
        for each in (found, found.rstrip(".:"), found.partition(":")[0]):
            stop = start + len(each)
            if _is_address(each) and not _joined(text, start, stop):
                spans.append((start, stop))
                break
    return spans


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text != "::"


def _phones(expression: Any, north_american: Any, regions: tuple[str, ...], text: str) -> Spans:
    found: Spans = [] if north_american is None else _every(north_american, text)
    asked = 0
    for start, end in _every(expression, text):
        if sum(char.isdigit() for char in text[start:end]) < FEWEST_DIGITS:
            continue
        asked += end - start
        if asked > MOST_ASKED:
            found.append((start, end))
            continue
        # What stands beside it tells a phone number from a price or a part of a name.
        begin = max(0, start - 2)
        around = text[begin : end + 4]
        for region in regions or (None,):
            for match in phonenumbers.PhoneNumberMatcher(around, region):
                found.append((begin + match.start, begin + match.end))
    return _apart(found)


def _apart(spans: Spans) -> Spans:
    """In order, those that touch each other as one."""
    apart: Spans = []
    for start, end in sorted(spans):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart
