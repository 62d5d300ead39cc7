"""Signs people in to the console: sessions, one-time links, slowed failures; no cookies.

A session is 256 random bits in a cookie and their SHA-256 in the database: a copy of the database
is not enough to sign in.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from webapp.accounts.admins import store as admins
from webapp.accounts.admins.admins import Admin, admin_of, fold_name
from webapp.accounts.admins.passwords import Passwords
from webapp.accounts.audit import Actor, AuditEntry, AuditLog
from webapp.accounts.principal import Principal
from webapp.accounts.sessions import store as sessions
from webapp.accounts.sign_in.known_browsers import KnownBrowsers
from webapp.accounts.tries.tries import Admitted, Tries
from webapp.clock import Clock, SystemClock
from webapp.errors import NotFound, RateLimited, StorageUnavailable, Unauthenticated
from webapp.storage import Connection, Database
from webapp.storage.alone import hold

TOKEN_BYTES = 32
MAX_TOKEN_CHARS = 64
MAX_ADDRESS_CHARS = 64
IDLE_SECONDS = 1800.0
ABSOLUTE_SECONDS = 12 * 3600.0
LINK_SECONDS = 900.0
SEEN_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class AdminSession:
    """A browser that is signed in; times are milliseconds since 1970-01-01 UTC."""

    id: int
    created_at: int
    last_seen_at: int
    address: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A signed-in account and its session."""

    admin: Admin
    session: AdminSession

    @property
    def principal(self) -> Principal:
        return Principal.admin(self.admin.name, self.admin.role)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just begun; `token` goes into the cookie and nowhere else, and so does
    `browser`, by which the browser is known at the next sign-in."""

    admin: Admin
    token: str = field(repr=False)
    browser: str = field(repr=False)


class SignIn:
    """The console's door."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        audit: AuditLog,
        browser_secret: bytes,
        idle_seconds: float = IDLE_SECONDS,
        absolute_seconds: float = ABSOLUTE_SECONDS,
        dev_accounts: bool = False,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`dev_accounts`: this is the console of `switchboard dev`, which its own account opens."""
        self._database = database
        self._passwords = passwords
        self._dev_accounts = dev_accounts
        self._log = audit
        self._idle_ms = round(idle_seconds * 1000)
        self._absolute_ms = round(absolute_seconds * 1000)
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._browsers = KnownBrowsers(browser_secret, self._clock)
        self._tries = Tries(database, self._clock)

    # -- coming in --------------------------------------------------------------------------------

    def with_password(
        self, name: str, password: str, *, address: str, browser: str = "", request_id: str = ""
    ) -> NewSession:
        """A new session. `Unauthenticated` whichever of the two was wrong, and as slowly.

        `browser` is what the cookie of this account's name said. Failures slow the account's
        next tries from strange browsers, never those from one that is known to it; too many of
        one address, or too many at once, raise `RateLimited` before the password is looked at.
        """
        folded = fold_name(name)
        with self._database.read() as connection:
            row = admins.by_name(connection, folded)
        known = self._browsers.recognised(browser, None if row is None else admin_of(row))
        admitted = self._tries.admit(folded, address, known)
        if admitted.wait_seconds:
            self._sleep(admitted.wait_seconds)
        kept = row[6] if row is not None else None
        fits = self._matches(password, kept, admitted)
        if not fits or kept is None or not self._may_enter(admin_of(row)):
            raise Unauthenticated("Name or password is wrong.", code="sign_in_failed")
        better = self._better(password, kept)

        def work(connection: Connection) -> NewSession:
            hold(connection, "accounts")
            # The password may have been changed, or the account disabled, while it was checked.
            now = admins.by_name(connection, folded)
            if now is None or now[6] != kept or not self._may_enter(admin_of(now)):
                raise Unauthenticated("Name or password is wrong.", code="sign_in_failed")
            if better is not None:
                admins.set_password_hash(connection, now[0], better)
            self._tries.succeeded(connection, admitted)
            return self._begin(connection, admin_of(now), "password", address, request_id)

        return self._database.write(work)

    def is_own_password(self, signed_in: SignedIn, password: str) -> bool:
        """Whether it is the password of the signed-in account, asked before a person changes it.
        `RateLimited` after too many guesses: a session that was left open must not help to guess
        it.
        """
        admitted = self._tries.admit_session(signed_in.session.id)
        with self._database.read() as connection:
            row = admins.by_id(connection, signed_in.admin.id)
        if not self._matches(password, None if row is None else row[6], admitted):
            return False
        self._tries.called_off(admitted)
        return True

    def _better(self, password: str, kept: str) -> str | None:
        """A hash with today's parameters, when the one that is kept has others."""
        try:
            return self._passwords.hash(password) if self._passwords.is_outdated(kept) else None
        except RateLimited:
            return None  # at the next sign-in, then

    def _matches(self, password: str, kept: str | None, admitted: Admitted) -> bool:
        try:
            return self._passwords.matches(password, kept, known=admitted.known)
        except RateLimited:
            self._tries.called_off(admitted)
            raise

    def make_link(self, name: str, *, by: Actor, seconds: float = LINK_SECONDS) -> str:
        """The secret of a sign-in link, good once and for a short time; an older one goes."""

        def work(connection: Connection) -> str:
            hold(connection, "accounts")
            row = admins.by_name(connection, fold_name(name))
            if row is None or not admin_of(row).is_active:
                raise NotFound("There is no such active account.")
            token = secrets.token_urlsafe(TOKEN_BYTES)
            expires_at = self._clock.now_ms() + round(seconds * 1000)
            sessions.drop_links_of(connection, row[0])
            sessions.add_link(connection, _hash(token), row[0], expires_at)
            entry = AuditEntry(by, "make_sign_in_link", target=f"admin:{row[1]}")
            self._log.record(connection, entry)
            return token

        return self._database.write(work)

    def with_link(self, token: str, *, address: str, request_id: str = "") -> NewSession:
        """A new session; `Unauthenticated` for a link that is used, old or invented.

        A good one works whatever others at the address do; too many others are `RateLimited`.
        """

        def work(connection: Connection) -> NewSession:
            hold(connection, "accounts")
            admin_id = sessions.use_link(connection, _hash(token), self._clock.now_ms())
            row = None if admin_id is None else admins.by_id(connection, admin_id)
            if row is None or not self._may_enter(admin_of(row)):
                raise Unauthenticated(
                    "This sign-in link was used already or is too old.", code="sign_in_failed"
                )
            return self._begin(connection, admin_of(row), "link", address, request_id)

        try:
            return self._database.write(work)
        except Unauthenticated:
            self._tries.failed_link(address)
            raise

    def _may_enter(self, admin: Admin) -> bool:
        return admin.is_active and (self._dev_accounts or not admin.dev_only)

    def _begin(
        self, connection: Connection, admin: Admin, way: str, address: str, request_id: str
    ) -> NewSession:
        now = self._clock.now_ms()
        sessions.drop_old(
            connection,
            idle_since=now - self._idle_ms,
            born_before=now - self._absolute_ms,
            now=now,
        )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        where = address[:MAX_ADDRESS_CHARS]
        sessions.start_session(connection, _hash(token), admin.id, where, now)
        admins.note_sign_in(connection, admin.id, now)
        actor = Actor(f"admin:{admin.name}", admin.role, where, request_id)
        entry = AuditEntry(actor, "sign_in", after={"with": way})
        self._log.record(connection, entry)
        return NewSession(admin, token, self._browsers.mark_for(admin))

    # -- staying in -------------------------------------------------------------------------------

    def find(self, token: str | None, *, active: bool = True) -> SignedIn | None:
        """The account of this session; None when it is idle too long, too old, ended or unknown.

        What a page fetches by itself is asked with `active=False` and keeps nobody signed in.
        """
        if not token or len(token) > MAX_TOKEN_CHARS:
            return None
        with self._database.read() as connection:
            row = sessions.session(connection, _hash(token))
        if row is None:
            return None
        session, admin = AdminSession(*row[:4]), admin_of(row[4:])
        now = self._clock.now_ms()
        if now - session.last_seen_at >= self._idle_ms or not self._may_enter(admin):
            return None
        if now - session.created_at >= self._absolute_ms:
            return None
        if active and now - session.last_seen_at >= min(SEEN_EVERY_MS, self._idle_ms // 2):
            self._see(session.id, now)
        return SignedIn(admin, session)

    def _see(self, session_id: int, now: int) -> None:
        try:
            self._database.write(
                lambda connection: sessions.touch_session(connection, session_id, now)
            )
        except StorageUnavailable:
            # A page can still be read while the database cannot be written.
            return

    def sessions(self, admin: Admin) -> tuple[AdminSession, ...]:
        """Where the account is signed in, the latest first."""
        now = self._clock.now_ms()
        with self._database.read() as connection:
            found = [AdminSession(*row) for row in sessions.sessions_of(connection, admin.id)]
        return tuple(
            session
            for session in found
            if now - session.last_seen_at < self._idle_ms
            and now - session.created_at < self._absolute_ms
        )

    # -- going out --------------------------------------------------------------------------------

    def sign_out(self, signed_in: SignedIn, *, by: Actor) -> None:
        """Ends this session."""
        self.end_session(signed_in.admin, signed_in.session.id, by=by)

    def end_session(self, admin: Admin, session_id: int, *, by: Actor) -> bool:
        """Ends one session of this account; False when it has no such session."""

        def work(connection: Connection) -> bool:
            if sessions.end_session(connection, session_id, admin.id) == 0:
                return False
            entry = AuditEntry(by, "sign_out", target=f"admin:{admin.name}")
            self._log.record(connection, entry)
            return True

        return self._database.write(work)

    def sign_out_everywhere(self, admin: Admin, *, by: Actor, keep: int | None = None) -> int:
        """Ends all sessions of this account but `keep`; gives their number."""

        def work(connection: Connection) -> int:
            ended = sessions.end_sessions_of(connection, admin.id, keep=keep)
            target = f"admin:{admin.name}"
            entry = AuditEntry(by, "sign_out_everywhere", target=target, after={"ended": ended})
            self._log.record(connection, entry)
            return ended

        return self._database.write(work)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
