"""What an act on a tenant records in the audit log, in the act's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.storage import Connection


@dataclass(frozen=True, slots=True)
class AuditNote:
    """The facts of an act, in figures and settings; never a user's words or name.

    `begun`: it takes several transactions, and this is the first; another note comes at its end.
    """

    action: str
    tenant: int | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    begun: bool = False


Audit = Callable[[Connection, AuditNote], None]
