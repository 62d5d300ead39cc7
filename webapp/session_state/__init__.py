"""The state of a session: a JSON object that tools and callers read and write; no storage here."""

from webapp.session_state.changes import StateChanges
from webapp.session_state.state import SessionState
from webapp.session_state.values import MAX_BYTES

__all__ = ["MAX_BYTES", "SessionState", "StateChanges"]
