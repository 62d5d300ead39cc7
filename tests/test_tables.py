"""SQL stands in modules named `store.py`, and each table is written by one package alone.

So another engine, or another shape of a table, has one place to change.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import webapp

PACKAGE = Path(webapp.__file__).parent
WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+([a-z_]+)\b")
STATEMENT = re.compile(
    r"\bSELECT\s[\s\S]+\sFROM\s|\bINSERT INTO\s|\bUPDATE\s+\w+\s+SET\s|\bDELETE FROM\s"
)
FRAGMENT = re.compile(r"^\s*(?:PRAGMA|BEGIN|COMMIT|ROLLBACK|WHERE|ORDER BY|SET|VALUES)\s+\w")
RUNS_SQL = {"execute", "executemany", "executescript"}
OWNERS = {
    "tenants": {"tenants", "blocked_users", "tenant_search"},
    "memory": {
        *("sessions", "messages", "idempotency", "workflow_runs", "workflow_steps"),
        *("paused_turns", "notes", "session_summaries"),
    },
    "usage": {"requests", "refusals", "usage", "usage_rollup", "tool_calls", "tool_sums"},
    "chat": {"agent_configurations"},
    "accounts": {
        *("admins", "admin_sessions", "sign_in_links", "sign_in_tries"),
        *("api_keys", "audit", "audit_head"),
    },
    # What `storage` keeps for all of them, and for the limiter in a file of its own.
    "storage": {"meta"},
}


def texts(path: Path) -> Iterator[str]:
    """The strings in a module; those with fields are given whole."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (getattr(part, "value", None) for part in node.values)
            yield "".join(part if isinstance(part, str) else "name" for part in parts)


def written() -> dict[str, set[str]]:
    """The tables that the SQL in each package writes; the schema's own steps are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        package, *rest = path.relative_to(PACKAGE).parts
        if package == "storage" and rest != ["meta.py"]:
            continue
        for text in texts(path):
            found[package].update(WRITES.findall(text))
    return {package: tables for package, tables in found.items() if tables}


def test_each_table_is_written_by_its_own_package_alone() -> None:
    assert written() == OWNERS


def runs_sql(path: Path) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in RUNS_SQL
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_sql_stands_and_runs_in_stores_alone() -> None:
    elsewhere = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "store.py" and path.relative_to(PACKAGE).parts[0] != "storage"
        if runs_sql(path)
        or any(STATEMENT.search(text) or FRAGMENT.search(text) for text in texts(path))
    }
    assert elsewhere == set()
