"""Each table is written by one package, so that another engine or shape has one place to change."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import webapp

PACKAGE = Path(webapp.__file__).parent
WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+([a-z_]+)\b")
OWNERS = {
    "tenants": {"tenants", "blocked_users", "tenant_search"},
    "memory": {"sessions", "messages", "idempotency"},
    "usage": {"requests", "refusals", "usage", "usage_rollup"},
    "chat": {"agent_configurations"},
    "accounts": {
        *("admins", "admin_sessions", "sign_in_links", "sign_in_tries"),
        *("api_keys", "audit", "audit_head"),
    },
    # What `storage` keeps for all of them, and for the limiter in a file of its own.
    "storage": {"meta"},
}


def written() -> dict[str, set[str]]:
    """The tables that the SQL in each package writes; the schema's own steps are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        package, *rest = path.relative_to(PACKAGE).parts
        if package == "storage" and rest != ["meta.py"]:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found[package].update(WRITES.findall(node.value))
    return {package: tables for package, tables in found.items() if tables}


def test_each_table_is_written_by_its_own_package_alone() -> None:
    assert written() == OWNERS
