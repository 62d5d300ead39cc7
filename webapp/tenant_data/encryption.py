"""Encrypts the user ids of an existing database, and checks at the start that the key fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from webapp.accounts.keys import store as keys
from webapp.errors import ConfigurationError
from webapp.storage import Connection, Database, meta
from webapp.tenants import store as tenants
from webapp.tenants.search import store as search
from webapp.tenants.user_ids import store
from webapp.tenants.user_ids.forms import UserIds

if TYPE_CHECKING:
    from webapp.tenants.user_ids.encrypted import EncryptedUserIds

BATCH = 500
NOTE = "user_ids"
ENCRYPTING = "encrypting"
ENCRYPTED = "encrypted"

Progress = Callable[[int, int], None]
"""Called with how many ids are done and how many there are."""


def check_user_id_key(database: Database, user_ids: UserIds) -> None:
    """Raises `ConfigurationError` when the key in the settings is not the database's.

    A database without any user id takes the key that it first meets.
    """
    key_check = user_ids.key_check
    with database.read() as connection:
        state, known = _state(connection)
        has_ids = state != ENCRYPTED and _has_plain_ids(connection)
    if key_check is None:
        if known is not None:
            raise ConfigurationError(
                "SWITCHBOARD_USER_ID_KEY is missing: the user ids in this database are encrypted."
            )
        return
    if known is not None and known != key_check:
        raise ConfigurationError(
            "SWITCHBOARD_USER_ID_KEY is not the key that this database's user ids were encrypted"
            " with."
        )
    if state == ENCRYPTING or has_ids:
        raise ConfigurationError(
            "SWITCHBOARD_USER_ID_KEY is set, but user ids in this database are still plain; stop"
            " every server of it and run: switchboard db encrypt-user-ids."
        )
    if state != ENCRYPTED:
        database.write(lambda connection: _take_key(connection, key_check))


def encrypt_user_ids(
    database: Database,
    user_ids: EncryptedUserIds,
    *,
    progress: Progress | None = None,
    batch: int = BATCH,
) -> int:
    """Encrypts every id that is still plain; gives the number of tenants that it changed.

    Each batch is a transaction, so it can be stopped at any moment and run again. No server may
    use the database meanwhile. At the end the file is rewritten, so that no plain id stays in a
    free page of it. Raises `ConfigurationError` when it was begun with another key.
    """

    def begin(connection: Connection) -> int:
        _, known = _state(connection)
        if known is not None and known != user_ids.key_check:
            raise ConfigurationError(
                "SWITCHBOARD_USER_ID_KEY is not the key that encrypting was begun with."
            )
        meta.put(connection, NOTE, f"{ENCRYPTING} {user_ids.key_check}")
        keys.encrypt_users(connection, user_ids.stored)
        return tenants.count(connection)

    total = database.write(begin)
    done, after = 0, 0
    while True:
        changed, after = database.write(_step(user_ids, after, batch))
        if not changed:
            break
        done += changed
        if progress is not None:
            progress(done, total)
    database.write(search.rebuild)
    database.compact()
    # The last step: a command that was stopped before it is run again, and compacts again.
    database.write(
        lambda connection: meta.put(connection, NOTE, f"{ENCRYPTED} {user_ids.key_check}")
    )
    return done


def _step(
    user_ids: EncryptedUserIds, after: int, batch: int
) -> Callable[[Connection], tuple[int, int]]:
    return lambda connection: store.encrypt(connection, user_ids.stored, after=after, limit=batch)


def _take_key(connection: Connection, key_check: str) -> None:
    # Another process may have made a tenant, or taken another key, since the question.
    if _has_plain_ids(connection) or _state(connection)[1] not in (None, key_check):
        raise ConfigurationError(
            "SWITCHBOARD_USER_ID_KEY could not be taken: another process uses this database."
        )
    meta.put(connection, NOTE, f"{ENCRYPTED} {key_check}")


def _has_plain_ids(connection: Connection) -> bool:
    return store.has_plain(connection) or keys.has_plain_users(connection)


def _state(connection: Connection) -> tuple[str, str | None]:
    """Whether the ids are encrypted, and the check value of their key; ("", None) when not."""
    state, _, key_check = (meta.value(connection, NOTE) or "").partition(" ")
    return state, key_check or None
