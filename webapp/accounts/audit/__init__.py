"""Who did what to whom: entries, the sealed log of them, and how it is read."""

from webapp.accounts.audit.entries import (
    Actor,
    AuditEntry,
    AuditFilter,
    AuditPage,
    AuditRecord,
    BrokenAt,
    NotSealed,
    VerifiedChain,
)
from webapp.accounts.audit.log import AuditLog
from webapp.accounts.audit.reading import export, page

__all__ = [
    "Actor",
    "AuditEntry",
    "AuditFilter",
    "AuditLog",
    "AuditPage",
    "AuditRecord",
    "BrokenAt",
    "NotSealed",
    "VerifiedChain",
    "export",
    "page",
]
