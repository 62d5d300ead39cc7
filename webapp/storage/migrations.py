"""The schema, as numbered steps never changed once released; sqlite-utils keeps the record.

Times are milliseconds since 1970-01-01 UTC. `tenants.user_id` and `audit.target` hold what
`tenants/user_ids/` makes of a user id: the id itself, or its encrypted form.
"""

from __future__ import annotations

import math

from sqlite_utils import Database, Migrations

migrations = Migrations("switchboard")


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


@migrations()
def m006_accounts(db: Database) -> None:
    """Console accounts and their sessions, REST keys. Secrets are stored as hashes only.

    `api_keys.users` is `=` and the stored form of one user id, or a prefix and `*`.
    """
    db.execute("""
        CREATE TABLE admins (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL,
            password_hash TEXT,
            created_at INTEGER NOT NULL,
            last_sign_in_at INTEGER,
            disabled_at INTEGER
        )
    """)
    db.execute("""
        CREATE TABLE admin_sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            token_hash TEXT NOT NULL UNIQUE,
            admin_id INTEGER NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            created_at INTEGER NOT NULL,
            last_seen_at INTEGER NOT NULL,
            address TEXT NOT NULL
        )
    """)
    db.execute("CREATE INDEX admin_sessions_of_admin ON admin_sessions (admin_id)")
    db.execute("""
        CREATE TABLE sign_in_links (
            token_hash TEXT PRIMARY KEY,
            admin_id INTEGER NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
            expires_at INTEGER NOT NULL
        )
    """)
    db.execute("""
        CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            secret_hash TEXT NOT NULL,
            role TEXT NOT NULL,
            users TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            created_by TEXT NOT NULL,
            expires_at INTEGER,
            last_used_at INTEGER,
            revoked_at INTEGER,
            rotated_from TEXT
        )
    """)
    db.execute("CREATE INDEX api_keys_by_users ON api_keys (users)")


@migrations()
def m007_audit(db: Database) -> None:
    """Who did what to whom. Rows are only ever added: two triggers refuse anything else.

    `tenant_id` is the tenant's number, not its name, so that a forgotten user's name is gone
    from here as well; `target` names what is not a tenant (a key, an admin).
    """
    db.execute("""
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            actor TEXT NOT NULL,
            role TEXT NOT NULL,
            address TEXT NOT NULL,
            action TEXT NOT NULL,
            tenant_id INTEGER,
            target TEXT NOT NULL DEFAULT '',
            before TEXT NOT NULL DEFAULT '{}',
            after TEXT NOT NULL DEFAULT '{}',
            request_id TEXT NOT NULL DEFAULT '',
            previous_hash TEXT NOT NULL,
            hash TEXT NOT NULL
        )
    """)
    for column in ("tenant_id", "actor", "action"):
        db.execute(f"CREATE INDEX audit_by_{column} ON audit ({column}, id)")
    for change in ("UPDATE", "DELETE"):
        db.execute(f"""
            CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
        """)


@migrations()
def m008_secrets(db: Database) -> None:
    """Small values of the database itself: the check of USER_ID_KEY, the audit log's head."""
    db.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


@migrations()
def m009_tenant_search(db: Database) -> None:
    """Finds part of a user id among a million, by trigrams; triggers keep it in step."""
    db.execute("""
        CREATE VIRTUAL TABLE tenant_search USING fts5 (
            user_id, content='tenants', content_rowid='id', tokenize='trigram', detail='none'
        )
    """)
    db.execute("""
        CREATE TRIGGER tenant_search_insert AFTER INSERT ON tenants BEGIN
            INSERT INTO tenant_search (rowid, user_id) VALUES (new.id, new.user_id);
        END
    """)
    db.execute("""
        CREATE TRIGGER tenant_search_delete AFTER DELETE ON tenants BEGIN
            INSERT INTO tenant_search (tenant_search, rowid, user_id)
            VALUES ('delete', old.id, old.user_id);
        END
    """)
    db.execute("""
        CREATE TRIGGER tenant_search_update AFTER UPDATE OF user_id ON tenants BEGIN
            INSERT INTO tenant_search (tenant_search, rowid, user_id)
            VALUES ('delete', old.id, old.user_id);
            INSERT INTO tenant_search (rowid, user_id) VALUES (new.id, new.user_id);
        END
    """)


@migrations()
def m010_sign_in_tries(db: Database) -> None:
    """Failed tries to sign in, by address, account and browser; rows of the last 15 minutes."""
    db.execute("""
        CREATE TABLE sign_in_tries (
            who TEXT PRIMARY KEY,
            failures INTEGER NOT NULL,
            since INTEGER NOT NULL,
            free_at INTEGER NOT NULL
        ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX sign_in_tries_by_age ON sign_in_tries (since)")


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
