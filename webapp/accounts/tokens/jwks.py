"""Caches and renews the public keys of an identity provider; no token is read here.

A set is renewed in the background once it is `REFRESH_SECONDS` old and believed no longer than
`MAX_AGE_SECONDS`, so that is how long a withdrawn key goes on working. Only when the provider does
not answer the last good set stays in force, for `STALE_SECONDS`: nobody can tell then what was
withdrawn, and a provider that is down must not lock everybody out. An unknown key id makes us ask
as well, because providers rotate their keys without notice; but a stranger can invent as many key
ids as he likes, so we ask at most once in `RETRY_SECONDS`, one request at a time.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from webapp.accounts.tokens.fetching import DEADLINE_SECONDS, fetch_body
from webapp.clock import Clock, SystemClock
from webapp.errors import ConfigurationError

ALGORITHMS = ("RS256", "ES256")
REFRESH_SECONDS = 30.0
MAX_AGE_SECONDS = 60.0
STALE_SECONDS = 86_400.0
RETRY_SECONDS = 10.0
# A stranger can invent key ids, so only this many callers wait for an answer at once.
MAX_WAITING = 32
MIN_RSA_BITS = 2048
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Fetch = Callable[[str], bytes]
"""Gets the body behind a URL; raises OSError or ValueError when it cannot."""

log = logging.getLogger(__name__)


class KeySet:
    """The keys behind one URL. Safe for many threads; no lock is held while fetching."""

    def __init__(self, url: str, *, fetch: Fetch | None = None, clock: Clock | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ConfigurationError("SWITCHBOARD_JWT_JWKS_URL must begin with https://.")
        self._url = url
        self._fetch = fetch or fetch_body
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failing = False
        self._under_way: threading.Event | None = None

    algorithms = ALGORITHMS

    def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key with this id; a token that names none gets the only one there is."""
        known, age = self._known(key_id), self._age()
        if known is None:
            self._ask_for_unknown()
            return self._known(key_id)
        if age >= REFRESH_SECONDS:
            under_way = self._renew()
            if age >= MAX_AGE_SECONDS and not self._failing and under_way is not None:
                under_way.wait(DEADLINE_SECONDS)
        return self._known(key_id) if self._age() < STALE_SECONDS else None

    def _ask_for_unknown(self) -> None:
        under_way = self._renew()
        if under_way is None:
            return
        if self._fetched_at is None:
            # Just started: the key may well be in the first set, which is still on its way.
            under_way.wait(DEADLINE_SECONDS)
            return
        if not self._waiting.acquire(blocking=False):
            return
        try:
            under_way.wait(DEADLINE_SECONDS)
        finally:
            self._waiting.release()

    def _known(self, key_id: str | None) -> jwt.PyJWK | None:
        keys = self._keys
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(key_id)

    def _age(self) -> float:
        at = self._fetched_at
        return float("inf") if at is None else self._clock.monotonic() - at

    def _renew(self) -> threading.Event | None:
        """Begins to fetch the set, unless that was tried just now; gives the fetch under way."""
        with self._lock:
            if self._under_way is not None:
                return self._under_way
            now = self._clock.monotonic()
            if self._tried_at is not None and now - self._tried_at < RETRY_SECONDS:
                return None
            self._tried_at = now
            mine = self._under_way = threading.Event()
        threading.Thread(target=self._get, args=(mine,), name="jwks", daemon=True).start()
        return mine

    def _get(self, done: threading.Event) -> None:
        try:
            # As old as its question: what is withdrawn while the answer is on its way counts.
            asked_at = self._clock.monotonic()
            self._keys = read_key_set(self._fetch(self._url))
            self._fetched_at = asked_at
            self._failing = False
        except (OSError, ValueError) as error:
            # The last good set stays in force: a provider that is down locks nobody out.
            self._failing = True
            log.warning("jwks_unavailable", extra={"reason": type(error).__name__})
        finally:
            with self._lock:
                self._under_way = None
            done.set()


def read_key_set(body: bytes) -> Mapping[str | None, jwt.PyJWK]:
    """The keys of a document that may verify a signature; ValueError when it is no key set.

    An empty set is valid: a provider that withdraws its only key publishes one. Symmetric keys are
    left out, else a public set could serve to sign with; so are short RSA keys, and keys that are
    there to encrypt.
    """
    try:
        document = json.loads(body)
        members = document["keys"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("the document is no key set") from error
    if not isinstance(members, list):
        raise ValueError("the document is no key set")
    keys: dict[str | None, jwt.PyJWK] = {}
    for member in members:
        key = _usable(member)
        if key is not None:
            keys[key.key_id] = key
    return keys


def _usable(member: object) -> jwt.PyJWK | None:
    if not isinstance(member, dict) or member.get("kty") not in ("RSA", "EC") or "d" in member:
        return None
    if member.get("use", "sig") != "sig" or not isinstance(member.get("kid"), str | None):
        return None
    try:
        key = jwt.PyJWK(member)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    public = key.key
    if key.algorithm_name == "RS256":
        return key if isinstance(public, RSAPublicKey) and public.key_size >= MIN_RSA_BITS else None
    if key.algorithm_name == "ES256":
        return key if isinstance(public, EllipticCurvePublicKey) else None
    return None
