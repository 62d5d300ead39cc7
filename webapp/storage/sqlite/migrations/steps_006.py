"""Steps 6 to 10: accounts, keys, the audit log, small values, search, tries to sign in."""

from __future__ import annotations

from sqlite_utils import Database

from webapp.storage.sqlite.migrations.registry import migrations


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
