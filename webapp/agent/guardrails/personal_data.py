"""Masks, or refuses, what tells who somebody is: addresses, numbers of phones, cards, accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from webapp.agent.guardrails.patterns import look_at, places
from webapp.agent.guardrails.protocols import Replace, Verdict
from webapp.errors import ConfigurationError

KINDS = ("email", "iban", "credit_card", "us_ssn", "phone", "ip_address")
DEFAULT_REGIONS = ("US", "GB")
ACTS = ("mask", "refuse")
REFUSAL = "Please leave out personal data, such as {kind}."
SPOKEN = {
    "email": "an e-mail address",
    "iban": "a bank account's number",
    "credit_card": "a credit card's number",
    "us_ssn": "a social security number",
    "phone": "a phone number",
    "ip_address": "an IP address",
}


class PersonalDataGuardrail:
    """Puts `[EMAIL]`, `[PHONE]` and the like in the place of personal data.

    Numbers count only when they are right: cards and bank accounts by their check digits, phones by
    the plan of their country, as the packages `python-stdnum` and `phonenumbers` have them. Phones
    are found with their country's code anywhere, and without it as they are written in `regions`
    (two letters each). Names and streets are not found: that takes a model of language.
    `action="refuse"` refuses the text instead.
    """

    always_quick = True
    check_input: Callable[[str], Verdict]
    check_output: Callable[[str], Verdict]
    check_tool_result: Callable[[str], Verdict]

    def __init__(
        self,
        kinds: Iterable[str] = KINDS,
        *,
        on: Iterable[str] = ("input", "output", "tools"),
        action: str = "mask",
        regions: Iterable[str] = DEFAULT_REGIONS,
        name: str = "personal-data",
    ) -> None:
        # Imported here because the numbers of all countries are large.
        from webapp.agent.guardrails.finders import finders

        self.name = name
        wanted = _listed(kinds)
        if not wanted or not set(wanted) <= set(KINDS):
            raise ConfigurationError(
                f"kinds of the guardrail {name} must be one or more of {', '.join(KINDS)}."
            )
        if action not in ACTS:
            raise ConfigurationError(f"action of the guardrail {name} must be mask or refuse.")
        self._mask = action == "mask"
        found = finders(tuple(region.upper() for region in _listed(regions)))
        # In this order: an account's number has a phone's within.
        self._finders = [(kind, found[kind]) for kind in KINDS if kind in wanted]
        self.on = places(name, on)
        self.description = f"{action}s {', '.join(kind for kind, _ in self._finders)}"
        look_at(self, self.on, self._check)

    def _check(self, text: str) -> Verdict:
        left = text
        for kind, find in self._finders:
            spans = find(left)
            if spans and not self._mask:
                return REFUSAL.format(kind=SPOKEN[kind])
            left = _masked(left, spans, f"[{kind.upper()}]")
        return None if left == text else Replace(left)


def _listed(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _masked(text: str, spans: list[tuple[int, int]], mask: str) -> str:
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], mask]
        end = stop
    return "".join((*parts, text[end:]))
