"""The rules for passwords of console accounts, and how one is hashed and checked; no accounts."""

from __future__ import annotations

import base64
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from webapp.errors import InvalidInput, RateLimited
from webapp.storage.native_thread import NativeThreads

MIN_CHARS = 12
MAX_CHARS = 1024

# More than OWASP asks at the least for argon2id (19 MiB, 2 passes): about 50 ms of one core. The
# memory is what several sign-ins at once cost, so it is not larger.
MEMORY_KIB = 19 * 1024
PASSES = 3
LANES = 1
# Strangers are checked two at a time, and whoever has shown more than a password one beside
# them, so that a flood of strangers keeps nobody out; memory and processors stay bounded.
STRANGERS_AT_ONCE = 2
KNOWN_AT_ONCE = 1
WAITING = 16


class Passwords:
    """Hashes by argon2id, outside the greenlets' thread, a few at a time."""

    def __init__(
        self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES, lanes: int = LANES
    ) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._strangers = _Lane(STRANGERS_AT_ONCE)
        self._known = _Lane(KNOWN_AT_ONCE)
        self._threads = NativeThreads(STRANGERS_AT_ONCE + KNOWN_AT_ONCE)
        # It takes as long to check as a real one and no password fits it, so that time does not
        # tell which names there are.
        filler = [base64.b64encode(bytes(size)).rstrip(b"=").decode() for size in (16, 32)]
        self._nobodys = (
            f"$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${filler[0]}${filler[1]}"
        )

    def hash(self, password: str) -> str:
        """The hash to store; `RateLimited` when too many are waiting."""
        normal = _normal(password)
        with self._known.turn():
            return self._threads.run(lambda: self._hasher.hash(normal))

    def matches(self, password: str, kept: str | None, *, known: bool = False) -> bool:
        """Whether the password is right. Without a stored hash the answer is no and takes as long.

        `known` callers have shown more than a password. `RateLimited` when too many are waiting.
        """
        if len(password) > MAX_CHARS:
            return False
        normal = _normal(password)
        with (self._known if known else self._strangers).turn():
            return self._threads.run(lambda: self._verify(normal, kept or self._nobodys))

    def is_outdated(self, kept: str) -> bool:
        """Whether it was hashed with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, normal: bytes, kept: str) -> bool:
        try:
            return self._hasher.verify(kept, normal)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):
            # A damaged row opens no door.
            return False


class _Lane:
    """Lets a few in at once and a few more wait; the next one is refused at once."""

    def __init__(self, at_once: int) -> None:
        self._places = threading.BoundedSemaphore(at_once + WAITING)
        self._turns = threading.BoundedSemaphore(at_once)

    @contextmanager
    def turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise RateLimited("Too many are signing in just now; try again.", code="sign_in_busy")
        try:
            with self._turns:
                yield
        finally:
            self._places.release()


def check_new_password(password: object, *, name: str) -> str:
    """The password, when it may be one: 12 to 1024 characters, and not the name again.

    Length is what counts (NIST SP 800-63B); there are no rules about digits or signs.
    """
    if not isinstance(password, str):
        raise _bad("password must be a string")
    normal = unicodedata.normalize("NFKC", password)
    if len(normal) < MIN_CHARS:
        raise _bad(f"password too short (min {MIN_CHARS} chars)")
    if len(password) > MAX_CHARS or len(normal) > MAX_CHARS:
        raise _bad(f"password too long (max {MAX_CHARS} chars)")
    if len(set(normal)) < 4 or normal.casefold() == name.casefold():
        raise _bad("password is too easy to guess")
    return password


def _normal(password: str) -> bytes:
    # One keyboard sends é as one character and another as two; NIST SP 800-63B says NFKC.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"password": sentence})
