"""What lies in a server's database file, read from outside; and whether it is whole. No test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        yield connection


def rows(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with opened(path) as connection:
        return connection.execute(sql, parameters).fetchall()


def memory(path: Path, user_id: str) -> list[tuple[str, str]]:
    """Role and content of all that is remembered of a user, oldest first."""
    return rows(
        path,
        "SELECT role, content FROM messages JOIN sessions ON sessions.id = messages.session"
        " JOIN tenants ON tenants.id = sessions.tenant_id WHERE user_id = ? ORDER BY session, seq",
        user_id,
    )


def recorded(path: Path, user_id: str) -> list[tuple[int, str]]:
    """Status and code of the user's requests, in the order in which they ended; refused ones,
    which are only counted and written together, stand at the end, as far as they are written."""
    requests = rows(
        path,
        "SELECT status, code FROM requests JOIN tenants ON tenants.id = requests.tenant_id"
        " WHERE user_id = ? ORDER BY requests.id",
        user_id,
    )
    refused = rows(
        path,
        f"SELECT CASE WHEN rate_limited THEN 429 ELSE 403 END, code, requests FROM ({_SUMS}) AS s"
        " JOIN tenants ON tenants.id = s.tenant_id WHERE user_id = ? AND period = 'minute'",
        user_id,
    )
    return requests + [(status, code) for status, code, number in refused for _ in range(number)]


def require_whole(path: Path) -> None:
    """No damage, no half turn, and every counter is what its rows say."""
    with opened(path) as connection:
        connection.execute("BEGIN")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for what, sql in _DISAGREEMENTS.items():
            found = connection.execute(f"WITH sums AS ({_SUMS}) {sql}").fetchall()
            assert found == [], what
        roles = connection.execute("SELECT session, role FROM messages ORDER BY session, seq")
        last: tuple[int, str] | None = None
        for session, role in roles:
            expected = "user" if last is None or last[0] != session else _AFTER[last[1]]
            assert role == expected, f"session {session} does not alternate"
            if last is not None and last[0] != session:
                assert last[1] == "assistant", f"session {last[0]} ends with a half turn"
            last = (session, role)
        assert last is None or last[1] == "assistant", "the last session ends with a half turn"


_AFTER = {"user": "assistant", "assistant": "user"}

# The sums, and what is to be added to them: requests behind the roll-up, counts of refused ones.
_SUMS = """
    SELECT tenant_id, period, code, bucket, requests, errors, rate_limited, input_tokens,
        output_tokens
    FROM usage WHERE measure = 'request'
    UNION ALL
    SELECT tenant_id, period, code, -1, number, 0, number * limited, 0, 0
    FROM refusals,
        (SELECT 'minute' AS period UNION ALL SELECT 'hour' UNION ALL SELECT 'day') AS periods
    UNION ALL
    SELECT CASE whose WHEN 'own' THEN tenant_id ELSE 0 END, period, code,
        CASE WHEN status BETWEEN 400 AND 499 OR status = 503 THEN -1 ELSE 0 END, 1, status >= 500,
        status = 429, input_tokens, output_tokens
    FROM requests,
        (SELECT 'all' AS whose, 'minute' AS period UNION ALL SELECT 'all', 'hour'
            UNION ALL SELECT 'all', 'day' UNION ALL SELECT 'own', 'hour'
            UNION ALL SELECT 'own', 'day') AS periods
    WHERE id > (SELECT through FROM usage_rollup)
"""
_DISAGREEMENTS = {
    "messages of sessions": """
        SELECT id, message_count FROM sessions WHERE message_count !=
            (SELECT count(*) FROM messages WHERE session = sessions.id)
    """,
    "messages of tenants": """
        SELECT user_id, message_count FROM tenants WHERE message_count !=
            (SELECT count(*) FROM messages JOIN sessions ON sessions.id = messages.session
             WHERE tenant_id = tenants.id)
    """,
    "requests, errors and tokens of tenants": """
        SELECT user_id FROM tenants WHERE
            (request_count, error_count, input_tokens, output_tokens) !=
            (SELECT count(*) + (SELECT coalesce(sum(requests), 0) FROM sums
                WHERE sums.tenant_id = tenants.id AND period = 'minute'),
                coalesce(sum(status >= 500), 0), coalesce(sum(input_tokens), 0),
                coalesce(sum(output_tokens), 0) FROM requests WHERE tenant_id = tenants.id)
    """,
    "sums of tenants": """
        SELECT user_id FROM tenants CROSS JOIN (SELECT 'hour' AS period UNION SELECT 'day') AS p
        WHERE (request_count, error_count, input_tokens, output_tokens) !=
            (SELECT coalesce(sum(requests), 0), coalesce(sum(errors), 0),
                coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0)
             FROM sums WHERE tenant_id = tenants.id AND sums.period = p.period)
    """,
    "sums over all tenants": """
        SELECT p.period FROM
            (SELECT 'minute' AS period UNION SELECT 'hour' UNION SELECT 'day') AS p
        WHERE (SELECT count(*) FROM requests
                WHERE status NOT BETWEEN 400 AND 498 AND status <> 503) + (
            SELECT coalesce(sum(requests), 0) FROM sums
            WHERE tenant_id = 0 AND period = 'day' AND bucket = -1
                AND code <> 'client_closed_request'
        ) !=
            (SELECT coalesce(sum(requests), 0) FROM sums
             WHERE tenant_id = 0 AND sums.period = p.period)
    """,
}
