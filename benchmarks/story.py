"""Made-up tenants with a life that looks real: few talk much, most little, and most lately.

Values and chance only; writing them to a database is in `benchmarks.fill`. The same seed tells
the same stories.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from webapp.periods import DAY_MS, MINUTE_MS
from webapp.usage.histogram import bucket_of

USUAL_CAP = 50  # turns of a full memory of 100 messages
DAYS = 90
_DOMAINS = ("example.com", "example.org", "mail.example", "post.example")
_ORGANISATIONS = ("acme", "globex", "initech", "umbrella", "stark", "wayne", "hooli", "vandelay")
_NAMES = ("alice", "bob", "mallory", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `code` is '' for a turn that went well, which left two messages."""

    at_ms: int
    status: int
    code: str
    latency_ms: int
    bucket: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Story:
    """One tenant and all its requests, oldest first."""

    number: int
    user_id: str
    blocked: bool
    requests: tuple[Request, ...]

    @property
    def turns(self) -> list[Request]:
        """The requests that left a turn in memory."""
        return [request for request in self.requests if not request.code]


def turn_counts(tenants: int, turns: int, chance: random.Random) -> list[int]:
    """Share `turns` out so that each tenant has at least one and few have very many.

    Raises ValueError where there are fewer turns than tenants.
    """
    if turns < tenants:
        raise ValueError("there must be at least one turn, two messages, for each tenant")
    cap = max(USUAL_CAP, math.ceil(2 * turns / tenants))
    counts = [min(cap, int(chance.paretovariate(1.05))) for _ in range(tenants)]
    missing = turns - sum(counts)
    step = 1 if missing > 0 else -1
    while missing:
        one = chance.randrange(tenants)
        if 1 <= counts[one] + step <= cap:
            counts[one] += step
            missing -= step
    return counts


def stories(tenants: int, turns: int, now_ms: int, seed: int = 1) -> Iterator[Story]:
    """Tell the story of each tenant, numbered from 1."""
    chance = random.Random(seed)
    for index, count in enumerate(turn_counts(tenants, turns, chance)):
        number = index + 1
        # The third power crowds the last activity of most into the last weeks.
        last_ms = now_ms - int(DAYS * DAY_MS * chance.random() ** 3)
        blocked = chance.random() < 0.002
        yield Story(number, _user_id(number), blocked, tuple(_requests(count, last_ms, chance)))


def calm_story(number: int, user_id: str, turns: int, now_ms: int) -> Story:
    """Tell of a tenant whose turns all went well, one a minute, the last of them just now."""
    times = (now_ms - MINUTE_MS * back for back in range(turns, 0, -1))
    latency = 800
    went = tuple(Request(at, 200, "", latency, bucket_of(latency), 500, 50) for at in times)
    return Story(number, user_id, False, went)


def _requests(count: int, last_ms: int, chance: random.Random) -> list[Request]:
    # Turns come in sittings of about five, some minutes apart; sittings a day and more apart.
    at = last_ms
    pace = 0.4 + chance.random() * 2.5
    found: list[Request] = []
    for turn in range(count):
        found.append(_turn(at, pace, min(turn, 20), chance))
        luck = chance.random()
        if luck < 0.02:
            at -= int(chance.random() * MINUTE_MS)
            latency = int(1000 * chance.random()) + 50
            found.append(Request(at, 502, "model_error", latency, bucket_of(latency), 0, 0))
        elif luck < 0.03:
            at -= int(chance.random() * MINUTE_MS)
            found.append(Request(at, 429, "rate_limited", 1, -1, 0, 0))
        gap = DAY_MS * (1 + 2 * chance.random()) if chance.random() < 0.2 else 2 * MINUTE_MS
        at -= int(gap * (0.5 + chance.random()))
    found.reverse()
    return found


def _turn(at: int, pace: float, earlier: int, chance: random.Random) -> Request:
    latency = int(1000 * pace * (0.5 + chance.random())) + 100
    said = 20 + int(60 * chance.random())
    return Request(at, 200, "", latency, bucket_of(latency), 60 + 90 * earlier, said)


def _user_id(number: int) -> str:
    kind = number % 4
    if kind == 0:
        return f"org-{_ORGANISATIONS[number // 4 % len(_ORGANISATIONS)]}-{number:07d}"
    if kind == 1:
        name = _NAMES[number // 4 % len(_NAMES)]
        return f"{name}.{number}@{_DOMAINS[number % len(_DOMAINS)]}"
    return f"user-{number:07d}"
