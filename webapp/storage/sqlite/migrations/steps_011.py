"""The steps from 11 on; the next one is added at the end."""

from __future__ import annotations

import math

from sqlite_utils import Database

from webapp.storage.sqlite.migrations.registry import migrations


@migrations()
def m011_accounts_of_dev(db: Database) -> None:
    """Marks the account that `switchboard dev` makes for its sign-in link: it works there only.

    One that was made before had the name `dev` and no password, which no other account lacked.
    """
    db.execute("ALTER TABLE admins ADD COLUMN dev_only INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE admins SET dev_only = 1 WHERE name = 'dev' AND password_hash IS NULL")


@migrations()
def m012_audit_head(db: Database) -> None:
    """The audit log's head, with its seal under SECRET_KEY; `begin` in accounts/audit.py makes
    the first one. Until then the head has the form of before, without a seal."""
    db.execute("""
        CREATE TABLE audit_head (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            number INTEGER NOT NULL,
            hash TEXT NOT NULL,
            seam INTEGER,
            key_id TEXT NOT NULL,
            mac TEXT NOT NULL
        )
    """)
    db.execute("""
        INSERT INTO audit_head (one, number, hash, key_id, mac)
        SELECT 1, CAST(substr(value, 1, instr(value, ' ') - 1) AS INTEGER),
            substr(value, instr(value, ' ') + 1), '', ''
        FROM meta WHERE name = 'audit_head'
    """)
    db.execute("DELETE FROM meta WHERE name = 'audit_head'")


@migrations()
def m013_blocked_users(db: Database) -> None:
    """Who stays blocked after being forgotten, as hashes; see tenants/restrictions/blocks.py."""
    db.execute("""
        CREATE TABLE blocked_users (
            reference TEXT PRIMARY KEY, blocked_at INTEGER NOT NULL
        ) WITHOUT ROWID
    """)


@migrations()
def m014_usage_rollup(db: Database) -> None:
    """From here on sums follow from requests; usage/rollup/ says how.

    Requests with a number up to `usage_rollup.through` are in the sums: so far, all of them.
    `refusals` are counts of refused requests that are not in the sums yet, the tenant 0 being
    everyone together. `latency_buckets` says from how many milliseconds on a bucket of the latency
    histogram begins; a bucket in which there is no whole millisecond is left out.
    """
    db.execute("""
        CREATE TABLE usage_rollup (
            one INTEGER PRIMARY KEY CHECK (one = 1), through INTEGER NOT NULL
        )
    """)
    db.execute("""
        INSERT INTO usage_rollup (one, through)
        SELECT 1, COALESCE(MAX(id), 0) FROM requests WHERE id > 0
    """)
    db.execute("""
        CREATE TABLE refusals (
            id INTEGER PRIMARY KEY,
            tenant_id INTEGER NOT NULL,
            at INTEGER NOT NULL,
            code TEXT NOT NULL,
            limited INTEGER NOT NULL,
            number INTEGER NOT NULL
        )
    """)
    db.execute("CREATE INDEX refusals_of_tenant ON refusals (tenant_id)")
    db.execute("CREATE TABLE latency_buckets (low_ms INTEGER PRIMARY KEY, bucket INTEGER NOT NULL)")
    growth = math.log(1.1)
    last = round(math.log(3_600_000) / growth)
    begins = {math.ceil(math.exp((bucket - 0.5) * growth)): bucket for bucket in range(1, last + 1)}
    db.conn.executemany(
        "INSERT INTO latency_buckets (low_ms, bucket) VALUES (?, ?)", [(0, 0), *begins.items()]
    )


@migrations()
def m015_turns(db: Database) -> None:
    """How many turns each tenant has stored: a turn is stored only as the next of those it saw."""
    db.execute("ALTER TABLE tenants ADD COLUMN turn INTEGER NOT NULL DEFAULT 0")


@migrations()
def m016_turns_counted_after(db: Database) -> None:
    """Notes which requests are from before `tenants.turn` was counted, for `check --data`."""
    db.execute("""
        INSERT INTO meta (name, value)
        SELECT 'turns_counted_after', CAST(id AS TEXT) FROM requests
        WHERE id > 0 ORDER BY id DESC LIMIT 1
    """)


@migrations()
def m017_adds_titles_and_figures_of_sessions(db: Database) -> None:
    """A session's title and figures, whose session a kept answer is of, and two counters of a
    tenant's sessions: those forgotten by a person, and those that a limit took away.

    `title` is a person's; `opening` is made from the first question, and goes with it.
    """
    db.execute("ALTER TABLE sessions ADD COLUMN title TEXT")
    db.execute("ALTER TABLE sessions ADD COLUMN opening TEXT")
    for column in ("turn_count", "input_tokens", "output_tokens"):
        db.execute(f"ALTER TABLE sessions ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE idempotency ADD COLUMN session_id TEXT NOT NULL DEFAULT ''")
    for column in ("forgotten_sessions", "dropped_sessions"):
        db.execute(f"ALTER TABLE tenants ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
