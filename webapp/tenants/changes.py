"""Changes to a tenant: block, own limits, forget; who may and who is told is directory.py's."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.memory.clearing.store import clear_part
from webapp.storage import Connection
from webapp.storage.slices import ROWS
from webapp.tenants.restrictions import blocks

# Above so many tenants the search's index is not merged behind each act, but by housekeeping.
FEW_TO_MERGE = 50_000
STALE_SEARCH = "search_holds_forgotten"
MERGED_PAGES = 64


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went with a tenant, in rows."""

    messages: int
    sessions: int
    requests: int

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(
            self.messages + other.messages,
            self.sessions + other.sessions,
            self.requests + other.requests,
        )

    def as_dict(self) -> dict[str, int]:
        return {
            "messages": self.messages,
            "sessions": self.sessions,
            "requests": self.requests,
        }


NOTHING = Forgotten(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Inactive:
    """A tenant that nobody has heard of for long."""

    number: int
    last_active_at: int
    messages: int
    requests: int

    @property
    def rows(self) -> int:
        """About as many as there are to delete."""
        return self.messages + self.requests


def set_blocked(connection: Connection, number: int, blocked: bool, now_ms: int) -> None:
    """Blocks from `now_ms` on, or unblocks; who is blocked already stays so since then."""
    if blocked:
        connection.execute(
            "UPDATE tenants SET blocked_at = :now WHERE id = :number AND blocked_at IS NULL",
            {"number": number, "now": now_ms},
        )
    else:
        connection.execute(
            "UPDATE tenants SET blocked_at = NULL WHERE id = :number", {"number": number}
        )


def set_rate_limit(connection: Connection, number: int, text: str | None) -> None:
    """The tenant's own limit, checked before; None goes back to the default."""
    connection.execute(
        "UPDATE tenants SET rate_limit = :text WHERE id = :number",
        {"number": number, "text": text},
    )


def set_token_budget(connection: Connection, number: int, text: str | None) -> None:
    """The tenant's own token budget, checked before; None goes back to the default."""
    connection.execute(
        "UPDATE tenants SET token_budget = :text WHERE id = :number",
        {"number": number, "text": text},
    )


def forget_part(
    connection: Connection, number: int, *, inactive_since: int | None = None, most: int = ROWS
) -> tuple[Forgotten, bool] | None:
    """Deletes about `most` rows of the tenant; what went, and whether it is gone altogether.

    None when it is gone already, or with `inactive_since` when it was active from that moment on
    or is blocked. What it cost stays in the sums over all tenants, where nothing points at it.
    """
    who = {"number": number, "since": inactive_since, "most": most}
    if inactive_since is not None:
        silent = connection.execute(
            "SELECT 1 FROM tenants"
            " WHERE id = :number AND last_active_at < :since AND blocked_at IS NULL",
            who,
        )
        if silent.fetchone() is None:
            return None
    sessions = connection.execute(_SESSIONS, who).fetchone()[0]
    messages = clear_part(connection, number, most)
    if not messages.finished:
        sessions -= connection.execute(_SESSIONS, who).fetchone()[0]
        return Forgotten(messages.messages, sessions, 0), False
    requests = connection.execute(_SOME_REQUESTS, who).rowcount
    if requests >= most:
        sessions -= connection.execute(_SESSIONS, who).fetchone()[0]
        return Forgotten(messages.messages, sessions, requests), False
    block = connection.execute(
        "SELECT user_id, blocked_at FROM tenants WHERE id = :number AND blocked_at IS NOT NULL", who
    ).fetchone()
    if block is not None:
        blocks.keep(connection, block[0], block[1])
    connection.execute("DELETE FROM sessions WHERE tenant_id = :number", who)
    connection.execute("DELETE FROM usage WHERE tenant_id = :number", who)
    gone = connection.execute("DELETE FROM tenants WHERE id = :number", who).rowcount
    return (Forgotten(messages.messages, sessions, requests), True) if gone else None


_SESSIONS = "SELECT COUNT(*) FROM sessions WHERE tenant_id = :number"

_SOME_REQUESTS = """
    DELETE FROM requests WHERE id IN
        (SELECT id FROM requests WHERE tenant_id = :number ORDER BY id LIMIT :most)
"""


def search_to_merge(connection: Connection, *, at_once: bool) -> bool:
    """Whether the search's index is to be merged now; one that is large is noted for later."""
    if not at_once:
        noted = connection.execute(
            "DELETE FROM meta WHERE name = :name", {"name": STALE_SEARCH}
        ).rowcount
        return int(noted) > 0
    tenants = int(connection.execute("SELECT COUNT(*) FROM tenants", {}).fetchone()[0])
    if tenants <= FEW_TO_MERGE:
        return True
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (:name, '1') ON CONFLICT (name) DO NOTHING",
        {"name": STALE_SEARCH},
    )
    return False


def merge_search(connection: Connection, *, begin: bool) -> bool:
    """A step of merging the index of parts of ids, which keeps deleted ones until then.

    Whether there is more to do; `begin` is for the first step.
    """
    total = "SELECT total_changes()"
    before = int(connection.execute(total).fetchone()[0])
    connection.execute(
        "INSERT INTO tenant_search (tenant_search, rank) VALUES ('merge', :pages)",
        {"pages": -MERGED_PAGES if begin else MERGED_PAGES},
    )
    # The statement itself counts as one; FTS5's manual says so.
    return int(connection.execute(total).fetchone()[0]) - before >= 2


def inactive(
    connection: Connection, before_ms: int, limit: int, after: Inactive | None = None
) -> list[Inactive]:
    """At most `limit` tenants last active before then, the longest silent first.

    Blocked tenants are left out: forgotten, they would come back unblocked.
    """
    found = connection.execute(
        "SELECT id, last_active_at, message_count, request_count FROM tenants"
        " WHERE last_active_at < :before AND last_active_at >= :after_at"
        " AND (last_active_at > :after_at OR id > :after_id) AND blocked_at IS NULL"
        " ORDER BY last_active_at, id LIMIT :limit",
        {
            "before": before_ms,
            "after_at": after.last_active_at if after else 0,
            "after_id": after.number if after else 0,
            "limit": limit,
        },
    )
    return [Inactive(*row) for row in found.fetchall()]


def count_inactive(connection: Connection, before_ms: int) -> int:
    """How many tenants `inactive` would give; walks that part of an index."""
    found = connection.execute(
        "SELECT COUNT(*) FROM tenants WHERE last_active_at < :before AND blocked_at IS NULL",
        {"before": before_ms},
    )
    return int(found.fetchone()[0])
