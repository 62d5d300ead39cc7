"""The rows of sessions, without their messages."""
