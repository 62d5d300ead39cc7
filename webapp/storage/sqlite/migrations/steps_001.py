"""Steps 1 to 5: tenants, what they say, their figures, first answers, the agent's settings."""

from __future__ import annotations

from sqlite_utils import Database

from webapp.storage.sqlite.migrations.registry import migrations


@migrations()
def m001_tenants(db: Database) -> None:
    """One row a tenant, with the counters that the console sorts by.

    AUTOINCREMENT: the number of a forgotten tenant is never given to another, so a turn that
    began before finds no row and stores nothing.
    """
    db.execute("""
        CREATE TABLE tenants (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            last_active_at INTEGER NOT NULL,
            message_count INTEGER NOT NULL DEFAULT 0,
            request_count INTEGER NOT NULL DEFAULT 0,
            error_count INTEGER NOT NULL DEFAULT 0,
            refused_count INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            total_tokens INTEGER NOT NULL DEFAULT 0,
            p95_ms INTEGER NOT NULL DEFAULT 0,
            latency_histogram TEXT NOT NULL DEFAULT '{}',
            blocked_at INTEGER,
            rate_limit TEXT,
            token_budget TEXT,
            budget_day INTEGER NOT NULL DEFAULT 0,
            day_tokens INTEGER NOT NULL DEFAULT 0,
            budget_month INTEGER NOT NULL DEFAULT 0,
            month_tokens INTEGER NOT NULL DEFAULT 0
        )
    """)
    for column in (
        "last_active_at",
        "message_count",
        "request_count",
        "error_count",
        "refused_count",
        "total_tokens",
        "p95_ms",
    ):
        db.execute(f"CREATE INDEX tenants_by_{column} ON tenants ({column}, id)")
    db.execute("CREATE INDEX tenants_blocked ON tenants (blocked_at) WHERE blocked_at IS NOT NULL")


@migrations()
def m002_sessions_and_messages(db: Database) -> None:
    """Conversations. Messages lie side by side in their order, so a history is one read.

    `seq` grows within a session; only system messages that the cap moves to the front get one
    below. Deleting a tenant deletes these too.
    """
    db.execute("""
        CREATE TABLE sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            session_id TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            last_active_at INTEGER NOT NULL,
            message_count INTEGER NOT NULL DEFAULT 0,
            last_seq INTEGER NOT NULL DEFAULT 0,
            state TEXT,
            state_version INTEGER NOT NULL DEFAULT 0,
            UNIQUE (tenant_id, session_id)
        )
    """)
    db.execute("""
        CREATE TABLE messages (
            session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            message_id TEXT NOT NULL,
            role TEXT NOT NULL,
            content TEXT NOT NULL,
            tool_calls TEXT,
            tool_call_id TEXT,
            created_at INTEGER NOT NULL,
            PRIMARY KEY (session, seq)
        ) WITHOUT ROWID
    """)
    # A tenant's sessions in the order in which they began, for paging.
    db.execute("CREATE INDEX sessions_of_tenant ON sessions (tenant_id, id)")
    # Most sessions have no system message; this says so without a look at the others. `role` is
    # in it because SQLite would take the primary key otherwise.
    db.execute(
        "CREATE INDEX messages_system ON messages (session, role, seq) WHERE role = 'system'"
    )


@migrations()
def m003_usage(db: Database) -> None:
    """Requests one by one, kept for a while, and their sums by minute and hour.

    In `usage` the tenant 0 is everyone together; `bucket` numbers the latency histogram's bucket
    (-1: no latency, as for a refused request), `code` is '' for a success. `first_token` rows
    count the time to the first token of streamed turns in the same buckets.
    """
    db.execute("""
        CREATE TABLE requests (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            at INTEGER NOT NULL,
            route TEXT NOT NULL,
            status INTEGER NOT NULL,
            code TEXT NOT NULL DEFAULT '',
            latency_ms INTEGER NOT NULL,
            first_token_ms INTEGER,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            request_id TEXT NOT NULL
        )
    """)
    db.execute("CREATE INDEX requests_of_tenant ON requests (tenant_id, id)")
    db.execute("""
        CREATE TABLE usage (
            tenant_id INTEGER NOT NULL,
            period TEXT NOT NULL,
            at INTEGER NOT NULL,
            measure TEXT NOT NULL,
            code TEXT NOT NULL,
            bucket INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            rate_limited INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            PRIMARY KEY (tenant_id, period, at, measure, code, bucket)
        ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX usage_by_time ON usage (period, at)")


@migrations()
def m004_idempotency(db: Database) -> None:
    """The first answers to requests that carried an Idempotency-Key."""
    db.execute("""
        CREATE TABLE idempotency (
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            key_hash TEXT NOT NULL,
            body_hash TEXT NOT NULL,
            answer TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            PRIMARY KEY (tenant_id, key_hash)
        ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX idempotency_by_age ON idempotency (created_at)")


@migrations()
def m005_agent_configurations(db: Database) -> None:
    """What operators made of the agent; the newest row is in force, none means the settings."""
    db.execute("""
        CREATE TABLE agent_configurations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            created_at INTEGER NOT NULL,
            created_by TEXT NOT NULL,
            name TEXT NOT NULL,
            model TEXT NOT NULL,
            instructions TEXT NOT NULL,
            context_max_messages INTEGER NOT NULL,
            max_loops INTEGER NOT NULL,
            restored_from INTEGER
        )
    """)
