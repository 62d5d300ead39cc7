"""Decides whether, where and when a failed request is sent again; sends nothing itself.

The openai package's own retries sleep where neither a hang-up nor the turn's deadline reaches
them, and know of no redirect that keeps a request's body.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx2

from webapp.deadline import Deadline
from webapp.turns import Cancellation

MOST_REDIRECTS = 5
SAME_REQUEST = (307, 308)
OTHER_PLACE = (301, 302, 303)
PASSING = (408, 409, 429)
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a try failed; without a status there was no answer. `late` means no answer in time, or
    one that cannot be used: another try would end the same way."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    late: bool = False


class Tries:
    """The tries of one request. `url` is where it goes next; `elsewhere` says that this is another
    origin than the first, which must not see our credentials.

    `patience` in seconds bounds what a server may ask us to wait.
    """

    def __init__(
        self,
        url: str,
        *,
        retries: int,
        patience: float,
        cancel: Cancellation | None = None,
        deadline: Deadline | None = None,
        reads: bool = False,
    ) -> None:
        self.url = url
        self.elsewhere = False
        self._first = url
        self._retries = retries
        self._patience = patience
        self._cancel = cancel
        self._deadline = deadline
        self._followed = (*SAME_REQUEST, *OTHER_PLACE) if reads else SAME_REQUEST
        self._redirects = 0
        self._paused = 0

    def again(self, refusal: Refusal) -> bool:
        """Whether to send the request once more; waits before that if it must."""
        if self._is_off():
            return False
        if refusal.status in self._followed:
            return self._follow(refusal.headers.get("location", ""))
        if self._paused >= self._retries or not _passing(refusal):
            return False
        pause = wanted_pause(refusal.headers)
        if pause is None:
            pause = min(FIRST_PAUSE * 2**self._paused, LONGEST_PAUSE) * random.uniform(0.75, 1)  # nosec B311  # it spreads load, it guards nothing
        left = math.inf if self._deadline is None else self._deadline.left
        if pause > self._patience or pause >= left:
            return False
        self._paused += 1
        return self._wait(pause)

    def _follow(self, location: str) -> bool:
        self._redirects += 1
        try:
            target = httpx2.URL(self.url).join(location).copy_with(fragment=None)
        except (httpx2.InvalidURL, ValueError):
            return False
        if not location or not target.host or not _is_as_safe(target, httpx2.URL(self.url)):
            return False
        self.url = str(target)
        self.elsewhere = self.elsewhere or _origin(target) != _origin(httpx2.URL(self._first))
        return self._redirects <= MOST_REDIRECTS

    def _wait(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._is_off():
                return False
            time.sleep(min(left, LOOK_SECONDS))
        return not self._is_off()

    def _is_off(self) -> bool:
        off = self._cancel is not None and self._cancel.is_set()
        return off or (self._deadline is not None and self._deadline.passed)


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _is_as_safe(target: httpx2.URL, source: httpx2.URL) -> bool:
    """Whether a redirect keeps TLS: users' words do not go out unencrypted because a server says
    so."""
    return target.scheme == "https" or (target.scheme == "http" and source.scheme == "http")


def _passing(refusal: Refusal) -> bool:
    """Whether the fault may be gone soon; `x-should-retry` is the servers' own word for it."""
    if refusal.status is None:
        return not refusal.late
    told = refusal.headers.get("x-should-retry", "").lower()
    if told in ("true", "false"):
        return told == "true"
    return refusal.status in PASSING or refusal.status >= 500


def wanted_pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that the server asks for; None without a valid Retry-After."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        seconds = _number(text, unit) if text else None
        if seconds is None and text and unit == 1.0:
            seconds = _until(text, headers.get("date", ""))
        if seconds is not None and seconds > 0:
            return seconds
    return None


def _number(text: str, unit: float) -> float | None:
    try:
        number = float(text) * unit
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _until(text: str, now: str) -> float | None:
    """Seconds until an HTTP date, by the server's own clock if it says what that shows."""
    then = _moment(text)
    if then is None:
        return None
    shown = _moment(now)
    return then - (time.time() if shown is None else shown)


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
