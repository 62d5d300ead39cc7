"""The SQL of one tenant: finds it, makes it, drops it, and says whether its turns may run.

User ids are passed in their stored form (see user_ids/).
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.storage import Connection
from webapp.storage.database import Ask
from webapp.tenants.restrictions import blocks
from webapp.tenants.rows import COLUMNS, NOBODY, TenantRow, row_of

_STANDING = (
    "SELECT id, turn, forgotten_sessions, blocked_at IS NOT NULL, rate_limit, token_budget,"
    " budget_day, day_tokens, budget_month, month_tokens,"
    " EXISTS (SELECT 1 FROM paused_turns WHERE tenant_id = tenants.id)"
    " FROM tenants WHERE user_id = :user"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """The columns that decide whether a tenant's next turn may run.

    `turn` counts the turns that were stored, `forgotten_sessions` the sessions that somebody has
    forgotten. `budget_day` (20261123) and `budget_month` (202611) say which UTC day and
    month the token counters belong to; chat/budget.py reads them right. `has_paused_turns` spares
    the others a look for turns that wait for approval.
    """

    number: int
    turn: int
    forgotten_sessions: int
    blocked: bool
    rate_limit: str | None
    token_budget: str | None
    budget_day: int
    day_tokens: int
    budget_month: int
    month_tokens: int
    has_paused_turns: bool = False


def number_of(connection: Connection, stored_id: str) -> int | None:
    """The tenant's number, or None when there is no such tenant."""
    row = connection.execute("SELECT id FROM tenants WHERE user_id = :user", {"user": stored_id})
    found = row.fetchone()
    return None if found is None else int(found[0])


def ensure(connection: Connection, stored_id: str, now_ms: int, *, user_id: str = "") -> int:
    """The tenant's number; makes the tenant on first use. A forgotten one gets a new number.

    `user_id` finds a block from before ids were encrypted; see restrictions/blocks.py.
    """
    return make(connection, stored_id, now_ms, user_id=user_id)[0]


def make(
    connection: Connection, stored_id: str, now_ms: int, *, user_id: str = ""
) -> tuple[int, bool]:
    """The same, and whether it was made just now, and not by another writer before."""
    number = number_of(connection, stored_id)
    if number is not None:
        return number, False
    made = connection.execute(
        "INSERT INTO tenants (user_id, created_at, last_active_at) VALUES (:user, :now, :now)"
        " ON CONFLICT (user_id) DO NOTHING RETURNING id",
        {"user": stored_id, "now": now_ms},
    ).fetchone()
    if made is None:
        return make(connection, stored_id, now_ms, user_id=user_id)
    number = int(made[0])
    blocked_at = blocks.kept_since(connection, stored_id, user_id)
    if blocked_at is not None:
        blocks.lift(connection, stored_id, user_id)
        connection.execute(
            "UPDATE tenants SET blocked_at = :at WHERE id = :number",
            {"at": blocked_at, "number": number},
        )
    return number, True


def hold(connection: Connection, number: int) -> None:
    """Holds the tenant's row until the transaction ends.

    What reads a tenant's rows and then changes them begins with it, so that two that do so come
    one after the other, on an engine that has several writers as well.
    """
    # Not the id: its change would also be one of the search's index.
    connection.execute(
        "UPDATE tenants SET created_at = created_at WHERE id = :number", {"number": number}
    )


def standing_of(stored_id: str) -> Ask:
    """What `standing` asks."""
    return _STANDING, {"user": stored_id}


def standing(connection: Connection, stored_id: str, *, user_id: str = "") -> Standing | None:
    """One indexed read for each turn; None when there is no such tenant.

    One that was forgotten while it was blocked has the number `NOBODY` and is blocked still.
    """
    row = connection.execute(*standing_of(stored_id)).fetchone()
    if row is None:
        if blocks.kept_since(connection, stored_id, user_id) is None:
            return None
        return Standing(NOBODY, 0, 0, True, None, None, 0, 0, 0, 0)
    return Standing(row[0], row[1], row[2], bool(row[3]), *row[4:])


def drop_unused(connection: Connection, number: int) -> None:
    """Takes back a tenant that was made for a request which was refused, unless it was used."""
    connection.execute(
        "DELETE FROM tenants WHERE id = :number AND request_count = 0 AND message_count = 0"
        " AND blocked_at IS NULL AND rate_limit IS NULL AND token_budget IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM sessions WHERE tenant_id = :number)"
        " AND NOT EXISTS (SELECT 1 FROM workflow_runs WHERE tenant_id = :number)",
        {"number": number},
    )


def find(connection: Connection, stored_id: str) -> TenantRow | None:
    """The tenant with its counters, or None; never makes one."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM tenants WHERE user_id = :user",  # noqa: S608  # nosec B608  # a constant list
        {"user": stored_id},
    ).fetchone()
    return None if found is None else row_of(found)


def find_number(connection: Connection, number: int) -> TenantRow | None:
    """The tenant that a row elsewhere (an audit entry, a ranking) names by its number."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM tenants WHERE id = :number",  # noqa: S608  # nosec B608  # a constant list
        {"number": number},
    ).fetchone()
    return None if found is None else row_of(found)


def numbers_after(connection: Connection, after: int, limit: int) -> list[int]:
    """At most `limit` numbers of tenants above `after`, in their order."""
    rows = connection.execute(
        "SELECT id FROM tenants WHERE id > :after ORDER BY id LIMIT :limit",
        {"after": after, "limit": limit},
    ).fetchall()
    return [int(row[0]) for row in rows]


def count(connection: Connection) -> int:
    """How many tenants there are; walks the smallest index: 2 ms for a million."""
    return int(connection.execute("SELECT COUNT(*) FROM tenants", {}).fetchone()[0])


def is_there(connection: Connection, number: int) -> bool:
    """Whether there is such a tenant still."""
    found = connection.execute("SELECT 1 FROM tenants WHERE id = :number", {"number": number})
    return found.fetchone() is not None


def drop(connection: Connection, number: int) -> bool:
    """Deletes the tenant's row; False when it is gone already. Its other rows go before it."""
    gone = connection.execute("DELETE FROM tenants WHERE id = :number", {"number": number})
    return gone.rowcount > 0
