"""Schema steps from 18 on; earlier ones are in modules named by their first number."""

from __future__ import annotations

from sqlite_utils import Database

from webapp.storage.sqlite.migrations.registry import migrations


@migrations()
def m018_adds_workflows(db: Database) -> None:
    """The runs of workflows, and the journal of each: a line for every attempt at a step.

    A run belongs to the process that raised its `fence` last. `state` is the session's as it was
    when the run began; `changes` are what a step made of it.
    """
    db.execute("""
        CREATE TABLE workflow_runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            run_id TEXT NOT NULL,
            session_id TEXT NOT NULL,
            workflow TEXT NOT NULL,
            digest TEXT NOT NULL,
            status TEXT NOT NULL,
            input TEXT NOT NULL,
            output TEXT,
            state TEXT,
            error TEXT NOT NULL DEFAULT '',
            code TEXT NOT NULL DEFAULT '',
            fence INTEGER NOT NULL,
            key_hash TEXT,
            body_hash TEXT,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            UNIQUE (tenant_id, run_id)
        )
    """)
    db.execute("CREATE INDEX workflow_runs_of_tenant ON workflow_runs (tenant_id, id)")
    db.execute("CREATE INDEX workflow_runs_by_age ON workflow_runs (updated_at)")
    db.execute("CREATE INDEX workflow_runs_running ON workflow_runs (id) WHERE status = 'running'")
    db.execute(
        "CREATE INDEX workflow_runs_by_key ON workflow_runs (tenant_id, key_hash)"
        " WHERE key_hash IS NOT NULL"
    )
    db.execute("""
        CREATE TABLE workflow_steps (
            tenant_id INTEGER NOT NULL,
            run INTEGER NOT NULL REFERENCES workflow_runs (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            path TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            name TEXT NOT NULL,
            kind TEXT NOT NULL,
            status TEXT NOT NULL,
            input_hash TEXT NOT NULL,
            output TEXT,
            changes TEXT,
            visible INTEGER NOT NULL,
            started_at INTEGER NOT NULL,
            duration_ms INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            error TEXT NOT NULL DEFAULT '',
            code TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (tenant_id, run, seq),
            UNIQUE (run, path, attempt)
        ) WITHOUT ROWID
    """)


@migrations()
def m019_adds_paused_turns(db: Database) -> None:
    """Turns that wait for a person's approval, one of a session at most; see agent/approvals.py."""
    db.execute("""
        CREATE TABLE paused_turns (
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            session_id TEXT NOT NULL,
            turn TEXT NOT NULL,
            version INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            PRIMARY KEY (tenant_id, session_id)
        ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX paused_turns_by_age ON paused_turns (expires_at)")


@migrations()
def m020_adds_notes(db: Database) -> None:
    """What the agent's toolkit `notes` keeps; each tenant counts its own."""
    db.execute("""
        CREATE TABLE notes (
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            content TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            PRIMARY KEY (tenant_id, number)
        ) WITHOUT ROWID
    """)


@migrations()
def m021_adds_requests_of_workflows(db: Database) -> None:
    """The id of the request that asked for a run, as the access log has it."""
    db.execute("ALTER TABLE workflow_runs ADD COLUMN request_id TEXT NOT NULL DEFAULT ''")


@migrations()
def m022_adds_session_summaries(db: Database) -> None:
    """The running summary of a session; `through` is the id of the newest message in it."""
    db.execute("""
        CREATE TABLE session_summaries (
            tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
            session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            content TEXT NOT NULL,
            through TEXT NOT NULL,
            made_at INTEGER NOT NULL,
            PRIMARY KEY (tenant_id, session)
        ) WITHOUT ROWID
    """)
    db.execute("CREATE INDEX session_summaries_of_session ON session_summaries (session)")


@migrations()
def m023_adds_tool_calls(db: Database) -> None:
    """How often each tool was called, how it ended and how long it took: facts, and their sums by
    hour. `bucket` is one of the latency histogram's."""
    db.execute("""
        CREATE TABLE tool_calls (
            id INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            tool TEXT NOT NULL,
            outcome TEXT NOT NULL,
            bucket INTEGER NOT NULL,
            calls INTEGER NOT NULL,
            total_ms INTEGER NOT NULL
        )
    """)
    db.execute("CREATE INDEX tool_calls_by_time ON tool_calls (at)")
    db.execute("""
        CREATE TABLE tool_sums (
            at INTEGER NOT NULL,
            tool TEXT NOT NULL,
            outcome TEXT NOT NULL,
            bucket INTEGER NOT NULL,
            calls INTEGER NOT NULL,
            total_ms INTEGER NOT NULL,
            PRIMARY KEY (at, tool, outcome, bucket)
        ) WITHOUT ROWID
    """)


@migrations()
def m024_counts_interruptions_of_runs(db: Database) -> None:
    """How often a run was taken up from a process that had ended, since its last finished step."""
    db.execute("ALTER TABLE workflow_runs ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0")
