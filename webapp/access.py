"""Builds the audit log, tokens and user ids from the settings and the instance's secret."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from webapp.accounts.audit import AuditLog
from webapp.accounts.keys import Keys
from webapp.accounts.tokens import Tokens
from webapp.clock import Clock, SystemClock
from webapp.instance_secret import instance_secret, instance_secret_if_any
from webapp.settings import LoadedSettings, Settings
from webapp.tenants.user_ids.forms import PlainUserIds, UserIds

if TYPE_CHECKING:
    from webapp.accounts.tokens.jwks import KeySet

AUDIT_PURPOSE = "audit log"


def derived_secret(secret: str, purpose: str) -> bytes:
    """A separate secret for each purpose, so that none can be used for another."""
    return hmac.digest(secret.encode("utf-8"), purpose.encode("ascii"), "sha256")


def audit_log(loaded: LoadedSettings, clock: Clock | None = None) -> AuditLog:
    """The audit log alone, for commands that prove it and need nothing else."""
    folder, chosen = loaded.instance_path, loaded.values.secret_key
    first = instance_secret_if_any(folder) if chosen else None
    return AuditLog(
        derived_secret(chosen or instance_secret(folder), AUDIT_PURPOSE),
        clock or SystemClock(),
        first_key=None if first is None else derived_secret(first, AUDIT_PURPOSE),
    )


def user_ids_of(settings: Settings, secret: str) -> UserIds:
    """The form of user ids in the database: encrypted when there is a key for it."""
    reference_key = derived_secret(secret, "user references")
    if not settings.user_id_key:
        return PlainUserIds(reference_key)
    from webapp.tenants.user_ids.encrypted import EncryptedUserIds

    return EncryptedUserIds(settings.user_id_key, reference_key)


def line_names(secret: bytes) -> Callable[[str], str]:
    """Names the lines that tenants' turns wait in; whose each is cannot be read from it."""
    return lambda user_id: hmac.digest(secret, user_id.encode("utf-8"), "sha256").hex()


def tokens_of(settings: Settings, secret: str, keys: Keys, clock: Clock) -> Tokens:
    """Tokens of our own keys and of the identity provider, as far as the settings name them."""
    own_secret = settings.jwt_secret
    if not own_secret and not settings.jwt_jwks_url and settings.auth == "open":
        own_secret = derived_secret(secret, "tokens").hex()
    return Tokens(
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        secret=own_secret,
        key_set=_key_set(settings, clock),
        standing_of=keys.standing,
        clock=clock,
    )


def _key_set(settings: Settings, clock: Clock) -> KeySet | None:
    if not settings.jwt_jwks_url:
        return None
    from webapp.accounts.tokens.jwks import KeySet

    return KeySet(settings.jwt_jwks_url, clock=clock)
