"""The public keys of a foreign identity provider: fetched, cached, rotated; no token is read here.

A set of keys is kept for a while, and longer when the provider is down. An unknown key id makes
us ask again, because providers rotate their keys without notice; but a stranger can invent as
many key ids as he likes, so we ask at most once in `RETRY_SECONDS`, one request at a time.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from webapp.clock import Clock, SystemClock
from webapp.errors import ConfigurationError

ALGORITHMS = ("RS256", "ES256")
MAX_AGE_SECONDS = 300.0
RETRY_SECONDS = 10.0
TIMEOUT_SECONDS = 3.0
MAX_SET_BYTES = 512 * 1024
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
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._under_way: threading.Event | None = None

    algorithms = ALGORITHMS

    def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key with this id; a token that names none gets the only one there is."""
        known = self._known(key_id)
        if known is not None and self._is_fresh():
            return known
        self._refresh(wait=known is None)
        return self._known(key_id)

    def _known(self, key_id: str | None) -> jwt.PyJWK | None:
        keys = self._keys
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(key_id)

    def _is_fresh(self) -> bool:
        return (
            self._fetched_at is not None
            and self._clock.monotonic() - self._fetched_at < MAX_AGE_SECONDS
        )

    def _refresh(self, *, wait: bool) -> None:
        """Fetches the set, unless that was tried a moment ago.

        Whoever finds a fetch under way waits for it only when it has no key to go on with.
        """
        with self._lock:
            under_way = self._under_way
            if under_way is None:
                now = self._clock.monotonic()
                if self._tried_at is not None and now - self._tried_at < RETRY_SECONDS:
                    return
                self._tried_at = now
                mine = self._under_way = threading.Event()
        if under_way is not None:
            if wait:
                under_way.wait(2 * TIMEOUT_SECONDS)
            return
        try:
            self._keys = read_key_set(self._fetch(self._url))
            self._fetched_at = self._clock.monotonic()
        except (OSError, ValueError) as error:
            # The last good set stays in force: a provider that is down locks nobody out.
            log.warning("jwks_unavailable", extra={"reason": type(error).__name__})
        finally:
            with self._lock:
                self._under_way = None
            mine.set()


def read_key_set(body: bytes) -> Mapping[str | None, jwt.PyJWK]:
    """The keys in it that may verify a signature; ValueError when it has none.

    Symmetric keys are left out, else a public set could serve to sign with; so are short RSA
    keys, and keys that are there to encrypt.
    """
    try:
        document = json.loads(body)
        members = document["keys"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("the document is no key set") from error
    keys: dict[str | None, jwt.PyJWK] = {}
    for member in members if isinstance(members, list) else ():
        key = _usable(member)
        if key is not None:
            keys[key.key_id] = key
    if not keys:
        raise ValueError("the set has no usable key")
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


def fetch_body(url: str) -> bytes:
    """Gets it over HTTP, within a time and a size; redirects are not followed."""
    import httpx2  # it takes 70 ms to import, and most installations have no foreign provider

    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        with httpx2.stream("GET", url, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code != 200:
                raise ValueError(f"the key set's server answered {response.status_code}")
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_SET_BYTES:
                    raise ValueError("the key set is too large")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return body
    except httpx2.HTTPError as error:
        raise OSError("the key set's server cannot be reached") from error
