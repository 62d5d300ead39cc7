"""Issues and checks our signed tokens (JWT), and checks an identity provider's; one user each.

Rules from RFC 7519 and RFC 8725: the algorithm follows from whose key it is and never from the
token, audience and issuer are always required, and every failure looks the same from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from webapp.accounts.principal import Principal
from webapp.accounts.roles import Permission
from webapp.accounts.user_pattern import UserPattern
from webapp.clock import Clock, SystemClock
from webapp.errors import ConfigurationError, Conflict, InvalidInput
from webapp.ids import check_user_id

if TYPE_CHECKING:
    import jwt

    from webapp.accounts.keys import Standing
    from webapp.accounts.tokens.jwks import KeySet

# PyJWT and the cryptography under it take 9 MiB, so they are imported at the first token.
OWN_ALGORITHM: Final = "HS256"
MIN_SECRET_CHARS = 32
DEFAULT_TTL_SECONDS = 900
MAX_TTL_SECONDS = 86_400
LEEWAY_SECONDS = 10
# How far ahead the signer's clock may be, or ours may have been set back since. It opens nothing:
# such a token was good a moment later anyway.
AHEAD_SECONDS = 300
MAX_TOKEN_CHARS = 8192
KEY_CLAIM = "sb_key"

_REQUIRED = ("exp", "aud", "iss", "sub")
# Beside its own errors, the library lets these through for payloads of absurd shapes.
_NO_TOKEN = (InvalidInput, ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was just signed; `expires_at` is in milliseconds since 1970-01-01 UTC,
    `expires_in` the seconds until then."""

    user_id: str
    expires_at: int
    expires_in: int
    token: str = field(repr=False)


class Tokens:
    """Issues tokens when there is a secret, and checks them against it or a foreign key set."""

    def __init__(
        self,
        *,
        audience: str,
        issuer: str,
        secret: str = "",
        key_set: KeySet | None = None,
        standing_of: Callable[[str], Standing | None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`standing_of` is asked about the key that a token of ours was issued with; without it
        such tokens are refused."""
        if secret and len(secret) < MIN_SECRET_CHARS:
            raise ConfigurationError(
                f"SWITCHBOARD_JWT_SECRET must have at least {MIN_SECRET_CHARS} characters."
            )
        self._audience = audience
        self._issuer = issuer
        self._secret = secret.encode("utf-8")
        self._key_set = key_set
        self._standing_of = standing_of or _unknown
        self._clock = clock or SystemClock()

    def issue(
        self, user_id: object, *, by: Principal, ttl_seconds: int = DEFAULT_TTL_SECONDS
    ) -> IssuedToken:
        """A token for this one user. `by` must be allowed to issue it and to speak for the user.

        It lasts no longer than the key that asks for it. Raises `Forbidden`, `InvalidInput` for
        a bad id or a length outside 1 to 86400 seconds, and `Conflict` when there is no secret
        to sign with.
        """
        by.require(Permission.ISSUE_TOKENS)
        subject = by.speaks_for(check_user_id(user_id))
        if not self._secret:
            raise Conflict(
                "Tokens cannot be issued here, because SWITCHBOARD_JWT_SECRET is not set.",
                code="tokens_not_configured",
            )
        if isinstance(ttl_seconds, bool) or not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
            sentence = f"ttl_seconds must be between 1 and {MAX_TTL_SECONDS}"
            raise InvalidInput(sentence, fields={"ttl_seconds": sentence})
        now = self._clock.now_ms() // 1000
        claims: dict[str, Any] = {
            "sub": subject,
            "aud": self._audience,
            "iss": self._issuer,
            "iat": now,
            "exp": now + ttl_seconds,
        }
        if by.kind == "key":
            claims[KEY_CLAIM] = by.name
            standing = self._standing_of(by.name)
            if standing is not None and standing.expires_at is not None:
                claims["exp"] = min(claims["exp"], standing.expires_at // 1000)
        import jwt

        token = jwt.encode(claims, self._secret, algorithm=OWN_ALGORITHM)
        return IssuedToken(subject, claims["exp"] * 1000, max(0, claims["exp"] - now), token)

    def verify(self, presented: str) -> Principal | None:
        """The caller that the token stands for; None when it is malformed, forged, expired or for
        another audience."""
        # The library takes padding, which makes two texts of one token.
        if len(presented) > MAX_TOKEN_CHARS or presented.count(".") != 2 or "=" in presented:
            return None
        import jwt

        try:
            header = jwt.get_unverified_header(presented)
            claims = self._checked(presented, header)
            if claims is None:
                return None
            users = UserPattern.only(check_user_id(claims["sub"]))
        except (jwt.PyJWTError, *_NO_TOKEN):
            return None
        issued_with = claims.get(KEY_CLAIM)
        if header["alg"] != OWN_ALGORITHM or issued_with is None:
            return _principal(self._issuer, users)
        return self._issued_with(issued_with, users)

    def _issued_with(self, key_id: object, users: UserPattern) -> Principal | None:
        """The token's principal, while its key could still issue it."""
        standing = self._standing_of(key_id) if isinstance(key_id, str) else None
        if standing is None or not standing.principal.may(Permission.ISSUE_TOKENS):
            return None
        if not standing.principal.may_speak_for(users.text):
            return None
        key = standing.principal
        # Keys of the other roles are in admins' hands, and so is what they sign.
        return _principal(key.name, users, key.known_to_admins or key.role != "chat")

    def _checked(self, presented: str, header: dict[str, Any]) -> dict[str, Any] | None:
        if header.get("alg") == OWN_ALGORITHM:
            return self._decode(presented, self._secret, [OWN_ALGORITHM]) if self._secret else None
        if self._key_set is None or header.get("alg") not in self._key_set.algorithms:
            return None
        key = self._key_set.key(header.get("kid"))
        # The key's own algorithm is what counts; the library refuses a token that says another.
        return None if key is None else self._decode(presented, key, [key.algorithm_name])

    def _decode(
        self, presented: str, key: bytes | jwt.PyJWK, algorithms: list[str]
    ) -> dict[str, Any]:
        import jwt

        claims = jwt.decode(
            presented,
            key,
            algorithms=algorithms,
            audience=self._audience,
            issuer=self._issuer,
            # The times are looked at here: the library has one leeway for all of them, and a
            # clock of its own.
            options={
                "require": list(_REQUIRED),
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        if not _is_timely(claims, self._clock.now_ms() / 1000):
            raise jwt.InvalidTokenError
        return claims


def _principal(
    signed_by: str, users: UserPattern, known_to_admins: bool = False
) -> Principal:  # one field of a value
    return Principal("token", signed_by, "chat", users, known_to_admins)


def _unknown(_key_id: str) -> Standing | None:
    return None


def _is_timely(claims: dict[str, Any], now: float) -> bool:
    """Whether its times are numbers and now is between them."""
    expiry: Any = claims["exp"]
    if not _is_moment(expiry) or expiry + LEEWAY_SECONDS <= now:
        return False
    begins = [claims[name] for name in ("nbf", "iat") if name in claims]
    return all(_is_moment(begin) and begin <= now + AHEAD_SECONDS for begin in begins)


def _is_moment(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
