"""Writes the acts of REST callers and of the console's people on tenants into the audit log."""

from __future__ import annotations

from flask import request

from webapp.accounts.audit import Actor, AuditEntry
from webapp.storage import Connection
from webapp.tenants.notes import Audit, AuditNote
from webapp.web.context import caller, context, services


def audited() -> Audit:
    """A function that writes the audit entry in the transaction of an act on a tenant."""
    actor = Actor.of(caller(), address=request.remote_addr or "", request_id=context().request_id)
    log = services().audit

    def write(connection: Connection, note: AuditNote) -> None:
        entry = AuditEntry(
            actor, note.action, tenant_id=note.tenant, before=note.before, after=note.after
        )
        log.record(connection, entry)

    return write
